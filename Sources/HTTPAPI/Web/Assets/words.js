/** What the page says: words for statuses, times, sizes. */

/** For each status: a short label, a tone that picks the colour, and what is happening, in words. */
const STATUSES = {
    uploading: { label: "Uploading", tone: "busy", hint: "The recording is on its way" },
    pending: { label: "Waiting", tone: "waiting", hint: "Waiting for a free worker" },
    preprocessing: { label: "Preparing", tone: "busy", hint: "Preparing the audio" },
    transcribing: { label: "Transcribing", tone: "busy", hint: "Turning speech into text" },
    diarizing: { label: "Telling speakers apart", tone: "busy", hint: "Finding out who speaks when" },
    transcribed: { label: "Transcript ready", tone: "busy", hint: "The transcript is ready; finishing" },
    extracting_notes: { label: "Writing notes", tone: "busy", hint: "Drawing notes from the transcript" },
    processed: { label: "Done", tone: "done", hint: "Everything is ready" },
    failed: { label: "Failed", tone: "failed", hint: "Something went wrong" },
};

/** Words for a status; one that this page does not know yet is shown by its own name. */
export function statusWords(status) {
    return STATUSES[status] ?? { label: capitalised(status.replaceAll("_", " ")), tone: "busy", hint: "" };
}

/** True while more progress is to come. */
export function isUnfinished(status) {
    return status !== "processed" && status !== "failed";
}

/** What a session is doing now: the pipeline's own message, or ours. */
export function activity(session) {
    const { status, message } = session.progress;
    if (message) return message;
    // No bytes are known: nobody has uploaded anything, so no worker is what it waits for.
    if (status === "pending" && session.bytes === null) return "Waiting for the recording";
    return statusWords(status).hint;
}

const dayAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** "22 Nov 2026, 09:30", in the reader's own zone and manner. */
export function dateTime(text) {
    return text ? dayAndTime.format(new Date(text)) : "";
}

/** "09:30:05"; with the day in front when that is not today. */
export function moment(text) {
    const date = new Date(text);
    return date.toDateString() === new Date().toDateString() ? clock.format(date) : dayAndTime.format(date);
}

/** "2:05" or "1:02:05". */
export function timecode(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    const tail = String(rest).padStart(2, "0");
    return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/** "12.3 MB", in the units that file managers show. */
export function byteSize(bytes) {
    if (bytes < 1000) return `${bytes} bytes`;
    const units = ["kB", "MB", "GB"];
    const power = Math.min(units.length, Math.floor(Math.log10(bytes) / 3));
    const value = bytes / 1000 ** power;
    return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[power - 1]}`;
}

/** "about 2 min left"; nothing when nobody knows. */
export function remaining(seconds) {
    if (seconds === null || seconds === undefined) return "";
    if (seconds < 5) return "a few seconds left";
    if (seconds < 90) return `about ${seconds < 20 ? seconds : Math.round(seconds / 5) * 5} s left`;
    if (seconds < 5400) return `about ${Math.round(seconds / 60)} min left`;
    return `about ${Math.round(seconds / 3600)} h left`;
}

/** "key_topics" as "Key topics". */
export function capitalised(text) {
    const spaced = text.replaceAll("_", " ");
    return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
