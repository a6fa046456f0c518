/** The words of the page for statuses, times and sizes. */

/** For each status: a short label, a tone that selects the color, and a sentence on what is happening. */
const STATUSES = {
    uploading: { label: "Uploading", tone: "busy", hint: "The recording is being uploaded" },
    pending: { label: "Waiting", tone: "waiting", hint: "Waiting for a free worker" },
    preprocessing: { label: "Preparing", tone: "busy", hint: "Preparing the audio" },
    transcribing: { label: "Transcribing", tone: "busy", hint: "Turning speech into text" },
    diarizing: { label: "Identifying speakers", tone: "busy", hint: "Finding out who speaks when" },
    transcribed: { label: "Transcript ready", tone: "busy", hint: "The transcript is ready" },
    extracting_notes: { label: "Writing notes", tone: "busy", hint: "Writing notes from the transcript" },
    processed: { label: "Done", tone: "done", hint: "Everything is ready" },
    failed: { label: "Failed", tone: "failed", hint: "Something went wrong" },
};

/** The words for a status. A status that this page does not know is shown by its name. */
export function statusWords(status) {
    return STATUSES[status] ?? { label: capitalised(status.replaceAll("_", " ")), tone: "busy", hint: "" };
}

/** True if the session is not finished. */
export function isUnfinished(status) {
    return status !== "processed" && status !== "failed";
}

/** What is happening with a session: the pipeline's message, or else the words of its status. */
export function activity(session) {
    const { status, message } = session.progress;
    if (message) return message;
    // Without bytes, the session waits for an upload and not for a worker.
    if (status === "pending" && session.bytes === null) return "Waiting for the recording";
    return statusWords(status).hint;
}

const dayAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** "22 Nov 2026, 09:30", in the user's time zone and format. */
export function dateTime(text) {
    return text ? dayAndTime.format(new Date(text)) : "";
}

/** "09:30:05", with the day in front unless it is today. */
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

/** What is missing of a recording, or nothing if it is complete. */
export function incompleteness({ is_complete, duration_seconds, announced_seconds }) {
    if (is_complete !== false) return "";
    const [announced, read] = [announced_seconds, duration_seconds].map((seconds) => timecode(Math.round(seconds)));
    return `The recording is incomplete: the file announces ${announced}, but only ${read} could be read. `
        + "If you still have the whole recording, please upload it again.";
}

/** "12.3 MB", in the units of file managers. */
export function byteSize(bytes) {
    if (bytes < 1000) return `${bytes} bytes`;
    const units = ["kB", "MB", "GB"];
    const power = Math.min(units.length, Math.floor(Math.log10(bytes) / 3));
    const value = bytes / 1000 ** power;
    return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[power - 1]}`;
}

/** "about 2 min left"; empty without an estimate. */
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
