/** One session: its progress and history, the transcript with the recording, and the notes. */

import { get, request } from "./api.js";
import { element, fromTemplate, setText, showText } from "./dom.js";
import { Transcript } from "./transcript.js";
import {
    activity, byteSize, capitalised, dateTime, isUnfinished, moment, remaining, statusWords, timecode,
} from "./words.js";

export class DetailView {
    #app;
    #id;
    #part;
    #transcript;
    #isClosed = false;
    /** The attempt and status at the last read of history, transcript and notes. */
    #readFor = "";
    root;

    /** @param {import("./app.js").App} app */
    constructor(app, id) {
        this.#app = app;
        this.#id = id;
        const { root, part } = fromTemplate("detail-view");
        this.root = root;
        this.#part = part;
        this.#transcript = new Transcript(part);
        part.retry.addEventListener("click", () => this.#retry());
        if (app.store.get(id)) this.update(id);
        this.#load();
    }

    // Without the patient's name, because the browser's history stores titles.
    get title() { return "Session"; }
    get heading() { return this.#part.heading; }

    close() {
        this.#isClosed = true;
        this.#transcript.close();
    }

    connectionChanged() {}

    update(id) {
        if (id !== null && id !== this.#id) return;
        const session = this.#app.store.get(this.#id);
        if (!session) {
            if (!this.#part.body.hidden) this.#gone("This session was deleted, or you can no longer see it.");
            return;
        }
        this.#fill(session);
        const key = `${session.progress.attempt} ${session.progress.status}`;
        if (key === this.#readFor) return;
        this.#readFor = key;
        this.#readMore(session);
    }

    async #load() {
        try {
            await this.#app.store.load(this.#id);
        } catch (error) {
            const isUnknown = [403, 404, 422].includes(error.status);
            if (isUnknown || !this.#app.store.get(this.#id)) this.#gone(error.message);
        }
    }

    #gone(words) {
        this.#part.skeleton.hidden = true;
        this.#part.body.hidden = true;
        this.#part.chip.hidden = true;
        showText(this.#part.loadError, words);
    }

    #fill(session) {
        const { progress } = session;
        const words = statusWords(progress.status);
        const part = this.#part;
        part.skeleton.hidden = true;
        part.loadError.hidden = true;
        part.body.hidden = false;
        part.chip.hidden = false;
        part.chip.dataset.tone = words.tone;
        setText(part.status, words.label);
        setText(part.heading, this.#app.sessionName(session));
        setText(part.meta, this.#app.user.role === "patient" ? "" : dateTime(session.session_date));

        part.progressCard.hidden = !isUnfinished(progress.status);
        part.bar.value = progress.progress;
        setText(part.message, activity(session));
        setText(part.percent, `${progress.progress} %`);
        const hint = statusWords(progress.status).hint;
        setText(part.hint, progress.attempt > 1 ? `Attempt ${progress.attempt}` : progress.message ? hint : "");
        setText(part.remaining, remaining(progress.estimated_time_remaining));

        part.failure.hidden = progress.status !== "failed";
        if (progress.status === "failed") this.#fillFailure(session);
        part.facts.replaceChildren(...facts(session));
        if (session.bytes !== null && progress.status !== "uploading") this.#transcript.showRecording(this.#id);
        const isSilent = part.segments.childElementCount === 0;
        setText(part.transcriptTitle, progress.status === "failed" && isSilent ? "Recording" : "Transcript");
        part.transcriptCard.hidden = part.player.hidden && isSilent && part.transcriptNote.hidden;
    }

    #fillFailure(session) {
        const hasRecording = session.bytes !== null;
        const mayRetry = this.#app.mayManage;
        setText(this.#part.failureText, session.progress.error ?? "Processing failed.");
        this.#part.retry.hidden = !mayRetry || !hasRecording;
        let hint = "";
        if (!hasRecording) hint = "The recording did not arrive completely. Please upload it again.";
        else if (!mayRetry) hint = "Your therapist can start the processing again. You do not need to upload anything.";
        else hint = "Retry processes the recording again. You do not need to upload anything.";
        setText(this.#part.failureHint, hint);
    }

    /** Reads history, transcript and notes again, which change with the status. */
    async #readMore(session) {
        const { status } = session.progress;
        try {
            const history = await this.#readHistory();
            const isTranscribed = history.some((event) => event.status === "transcribed");
            const hint = isUnfinished(status) ? "The transcript appears here when it is ready." : "";
            if (isTranscribed) await this.#readTranscript();
            else showText(this.#part.transcriptNote, hint);
            if (status === "processed" && this.#app.mayManage) await this.#readNotes();
        } catch (error) {
            this.#readFor = ""; // the next change of this session will try again
            if (!this.#isClosed && error.status !== 401) this.#app.complain(error);
        }
    }

    async #readHistory() {
        const { items } = await get(`/api/sessions/${this.#id}/events`);
        const rows = items.map((event, index) => {
            const words = statusWords(event.status);
            const isRetry = index > 0 && event.attempt > items[index - 1].attempt;
            const label = isRetry ? `Started again: ${words.label}` : words.label;
            const row = element("li", "", element("span", "timeline-label", label));
            row.dataset.tone = words.tone;
            const detail = event.error ?? event.message;
            if (detail) row.append(element("span", "timeline-detail", detail));
            const time = element("time", "timeline-time muted", moment(event.at));
            time.dateTime = event.at;
            row.append(time);
            return row;
        });
        if (rows.length && isUnfinished(items.at(-1).status)) rows.at(-1).setAttribute("aria-current", "step");
        this.#part.timeline.replaceChildren(...rows);
        return items;
    }

    async #readTranscript() {
        if (await this.#transcript.load(this.#id)) this.#part.transcriptCard.hidden = false;
        else showText(this.#part.transcriptNote, "There is no transcript.");
    }

    async #readNotes() {
        try {
            const notes = await get(`/api/sessions/${this.#id}/notes`);
            this.#part.notes.replaceChildren(...rendered(notes));
            this.#part.notesCard.hidden = false;
        } catch (error) {
            if (error.status !== 404 && error.status !== 403) throw error;
        }
    }

    async #retry() {
        const { retry, retryError } = this.#part;
        retry.disabled = true;
        setText(retryError, "");
        try {
            this.#app.store.applyProgress(await request("POST", `/api/sessions/${this.#id}/retry`));
            this.#part.heading.focus();
        } catch (error) {
            setText(retryError, error.message);
        }
        retry.disabled = false;
    }
}

/** The known facts about the recording, as pairs of name and value. */
function facts(session) {
    const known = [
        ["File", session.filename],
        ["Length", session.duration_seconds && timecode(session.duration_seconds)],
        ["Size", session.bytes && byteSize(session.bytes)],
        ["Added", dateTime(session.created_at)],
    ];
    return known.filter(([, value]) => value)
        .flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]);
}

/** The notes as elements. The pipeline decides their form: names become headings, and lists become lists. */
function rendered(value, level = 3) {
    if (value === null || value === undefined || value === "") return [];
    if (Array.isArray(value)) {
        return [element("ul", "", ...value.map((item) => element("li", "", ...rendered(item, level))))];
    }
    if (typeof value === "object") {
        return Object.entries(value).flatMap(([name, inner]) => {
            const content = rendered(inner, Math.min(level + 1, 4));
            return content.length ? [element(`h${level}`, "", capitalised(name)), ...content] : [];
        });
    }
    return [element("p", "", String(value))];
}
