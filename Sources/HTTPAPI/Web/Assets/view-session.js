/** One session: its track, the transcript with the recording, the notes, and what can be done with it. */

import { fill, h, setText, showText } from "./dom.js";
import { Notes } from "./notes.js";
import { SessionActions } from "./session-actions.js";
import { Failure } from "./session-failure.js";
import { SessionHistory } from "./session-history.js";
import { chip, nameOf, renewChip, timeOf } from "./session-words.js";
import { Track } from "./track.js";
import { Transcript } from "./transcript.js";
import { byteSize, dateTime, isUnfinished, languageName, longDate, t, time, timecode } from "./words.js";

export async function mount(root, context) {
    const view = new SessionView(root, context);
    await view.load();
    return view;
}

class SessionView {
    #context;
    #id;
    #user;
    #manages;
    #part = {};
    #track;
    #transcript;
    #notes;
    #history;
    #actions;
    #failure;
    /** The attempt and status, and the number of segments, at the last read. */
    #readFor = "";
    #segments = 0;
    #wasHere = false;

    constructor(root, context) {
        this.#context = context;
        this.#user = context.user;
        this.#id = context.route.id;
        this.#manages = context.app.mayManage;
        context.title(t("session"));
        const startAt = Number.parseFloat(context.route.query.get("t") ?? "");
        this.#track = new Track(context.user);
        this.#transcript = new Transcript(this.#id, context, { mayCorrect: this.#manages, startAt: Number.isFinite(startAt) ? startAt : null });
        this.#notes = new Notes(this.#id, context);
        this.#history = new SessionHistory(this.#id, context);
        this.#transcript.onCorrected = this.#notes.onCorrected = () => this.#history.read();
        this.#actions = new SessionActions(this.#id, context);
        this.#actions.onDeleted = () => { this.#wasHere = false; };
        this.#failure = new Failure(context, this.#actions);
        const part = this.#part;
        this.#failure.onRetried = () => part.heading.focus();
        part.heading = h("h1", { tabIndex: -1 }, t("session"));
        part.meta = h("p.muted");
        part.chip = chip();
        part.chip.root.classList.add("large");
        part.chip.root.hidden = true;
        part.gone = h("p.notice.error", { role: "alert", hidden: true });
        part.skeleton = h("div.card.skeleton", { "aria-hidden": "true" }, h("span"), h("span"), h("span"));
        part.facts = h("dl.facts");
        part.body = h("div.session-body", { hidden: true }, this.#track.root, this.#failure.root,
            h("div.columns", h("div.column-main", this.#notes.root, this.#transcript.root),
                h("aside.column-side", h("section.card", h("h2", t("details")), part.facts, this.#actions.root), this.#history.root)));
        fill(root, h("p.crumb", h("a", { href: "#/", onclick: (event) => this.#back(event) }, `← ${t("back-to-sessions")}`)),
            h("div.view-head", h("div", part.heading, part.meta), part.chip.root), part.gone, part.skeleton, part.body);
    }

    close() {
        this.#track.close();
        this.#transcript.close();
    }

    /** Back keeps the place in the list. */
    #back(event) {
        if (history.length < 2 || event.ctrlKey || event.metaKey || !this.#context.app.cameFromList) return;
        event.preventDefault();
        history.back();
    }

    async load() {
        const { store, signal } = this.#context;
        if (store.get(this.#id)) this.update(this.#id);
        try {
            await store.load(this.#id, { signal });
            this.update(this.#id);
        } catch (error) {
            if (signal.aborted || error.status === 401) return;
            if ([403, 404, 422].includes(error.status)) store.remove(this.#id);
            if ([403, 404, 422].includes(error.status) || !store.get(this.#id)) this.#gone(error.status === 422 ? t("problem.404") : error.message);
        }
    }

    update(id) {
        if (id !== null && id !== this.#id) return;
        const session = this.#context.store.get(this.#id);
        if (!session) {
            if (this.#wasHere) this.#gone(t("session.gone"));
            return;
        }
        this.#wasHere = true;
        this.#fill(session);
        const { attempt, status, segments } = session.progress;
        const key = `${attempt} ${status}`;
        if (key !== this.#readFor) {
            this.#readFor = key;
            this.#segments = segments;
            this.#readMore(session);
        } else if (segments > this.#segments) {
            this.#segments = segments;
            this.#transcript.read({ more: true });
        }
    }

    /** Removes what was shown of a session that is no longer there for this user. */
    #gone(words) {
        const part = this.#part;
        this.close();
        part.skeleton.hidden = true;
        part.chip.root.hidden = true;
        part.body.remove();
        setText(part.heading, t("session"));
        setText(part.meta, "");
        showText(part.gone, words);
    }

    #fill(session) {
        const part = this.#part;
        part.skeleton.hidden = true;
        part.gone.hidden = true;
        part.body.hidden = false;
        part.chip.root.hidden = false;
        renewChip(part.chip, session, this.#user);
        const [day, hour] = [longDate(timeOf(session)), time(timeOf(session))];
        const isOwn = this.#user.role === "patient";
        setText(part.heading, isOwn ? day : nameOf(session, this.#user));
        setText(part.meta, isOwn ? [hour, session.therapist_name].filter(Boolean).join(" · ") : `${day}, ${hour}`);
        this.#track.showSession(session);
        this.#failure.show(session);
        this.#showFacts(session);
        this.#actions.show(session);
        if (session.bytes !== null && session.progress.status !== "uploading") this.#transcript.showRecording(session);
        const isUnderWay = isUnfinished(session.progress.status);
        this.#transcript.note(t(isUnderWay ? "transcript.later" : "transcript.none"), { shows: isUnderWay });
    }

    /** Shows the facts, if they have changed: the focus may be on the link to the patient. */
    #showFacts(session) {
        const known = [
            ["patient", this.#user.role === "patient" ? null : session.patient_name ?? t("patient.unnamed")],
            ["therapist", session.therapist_name], ["date", dateTime(session.session_date)],
            ["language", session.language && languageName(session.language)], ["length", session.duration_seconds && timecode(session.duration_seconds)],
            ["file", session.filename], ["size", session.bytes && byteSize(session.bytes)], ["added", dateTime(session.created_at)],
        ].filter(([, text]) => text);
        const { facts } = this.#part;
        const key = JSON.stringify(known);
        if (facts.dataset.key === key) return;
        facts.dataset.key = key;
        const shown = (name, text) => (name === "patient" ? h("a", { href: `#/patients/${session.patient_id}` }, text) : text);
        fill(facts, known.flatMap(([name, text]) => [h("dt", t(`column.${name}`)), h("dd", shown(name, text))]));
    }

    /** Reads transitions, transcript and notes again, which change with the status. */
    async #readMore(session) {
        const { status } = session.progress;
        try {
            const { items } = await this.#context.get(`/api/sessions/${this.#id}/events`, { signal: this.#context.signal });
            this.#track.showEvents(items);
            const mayHaveText = session.progress.segments > 0 || items.some((event) => event.status === "transcribed");
            if (mayHaveText) await this.#transcript.read();
            if (this.#manages && items.some((event) => event.status === "processed")) {
                await this.#notes.read();
                await this.#history.read();
            }
        } catch (error) {
            this.#readFor = ""; // the next change of this session will try again
            if (!this.#context.signal.aborted) this.#context.fail(error);
        }
        if (status === "failed") this.#fill(this.#context.store.get(this.#id) ?? session);
    }
}
