/** One session: its track, the transcript with the recording, the notes, and what can be done with it. */

import { button, confirmation, dialog, field, fill, h, setText, showText } from "./dom.js";
import { Notes } from "./notes.js";
import { chip, nameOf, renewChip, timeOf } from "./session-words.js";
import { Track } from "./track.js";
import { Transcript } from "./transcript.js";
import { byteSize, dateTime, failureWords, isUnfinished, languageName, longDate, t, time, timecode } from "./words.js";

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
        this.#transcript.onCorrected = this.#notes.onCorrected = () => this.#readHistory();
        const part = this.#part;
        part.heading = h("h1", { tabIndex: -1 }, t("session"));
        part.meta = h("p.muted");
        part.chip = chip();
        part.chip.root.classList.add("large");
        part.chip.root.hidden = true;
        part.gone = h("p.notice.error", { role: "alert", hidden: true });
        part.skeleton = h("div.card.skeleton", { "aria-hidden": "true" }, h("span"), h("span"), h("span"));
        part.failure = h("section.card.failure", { "data-part": "failure", hidden: true, "aria-label": t("failure.title") });
        part.actions = h("div.stack");
        part.facts = h("dl.facts");
        part.history = h("ul.history");
        part.historyCard = h("section.card", { hidden: true, "aria-label": t("history") }, h("h2", t("history")), part.history);
        part.body = h("div.session-body", { hidden: true }, this.#track.root, part.failure,
            h("div.columns", h("div.column-main", this.#notes.root, this.#transcript.root),
                h("aside.column-side", h("section.card", h("h2", t("details")), part.facts, part.actions), part.historyCard)));
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
        const { part } = { part: this.#part };
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
        setText(part.heading, nameOf(session, this.#user));
        const when = `${longDate(timeOf(session))}, ${time(timeOf(session))}`;
        setText(part.meta, [when, this.#user.role === "patient" ? session.therapist_name : null].filter(Boolean).join(" · "));
        this.#track.showSession(session);
        this.#fillFailure(session);
        fill(part.facts, this.#facts(session));
        this.#fillActions(session);
        if (session.bytes !== null && session.progress.status !== "uploading") this.#transcript.showRecording(session);
        const isUnderWay = isUnfinished(session.progress.status);
        this.#transcript.note(t(isUnderWay ? "transcript.later" : "transcript.none"), { shows: isUnderWay });
    }

    /** Why it failed, and the next step. Its reference is what the administrators search for. */
    #fillFailure(session) {
        const { status, error, attempt } = session.progress;
        const { failure } = this.#part;
        failure.hidden = status !== "failed";
        if (failure.hidden) return;
        const { text, advice } = failureWords(error);
        const next = session.bytes === null || advice === "upload" ? "upload" : !this.#manages ? "patient" : advice;
        const key = `${text}${next}${attempt}`;
        if (failure.dataset.key === key) return;
        failure.dataset.key = key;
        const actions = [
            next !== "upload" && this.#manages && button(t("retry"), { kind: "primary", onclick: (event) => this.#retry(event.currentTarget) }),
            next === "upload" && button(t("upload-again"), { kind: "primary", onclick: () => this.#uploadAgain(session) }),
            next === "upload" && session.bytes !== null && this.#manages && button(t("retry"), { onclick: (event) => this.#retry(event.currentTarget) }),
        ];
        const detail = h("p.muted");
        fill(failure, h("h2", t("failure.title")), h("p", text), h("p.muted", t(`advice.${next}`)), detail,
            h("div.session-actions", actions), h("p.reference.muted", t("reference", { id: `${session.id.slice(0, 8)}-${attempt}` })));
        if (this.#user.role === "admin") this.#readFailure(detail);
    }

    /** For administrators: the stage that failed. What it wrote is not for the page. */
    async #readFailure(target) {
        try {
            const { stage, exit_status: status } = await this.#context.get(`/api/sessions/${this.#id}/failure`, { signal: this.#context.signal });
            setText(target, t("failure.stage", { stage: t(`failure.stage.${stage}`), status: status ?? "–" }));
        } catch {
            // No stage has failed, as after a cancellation.
        }
    }

    #facts(session) {
        const known = [
            ["patient", this.#user.role === "patient" ? null : h("a", { href: `#/patients/${session.patient_id}` }, session.patient_name ?? t("patient.unnamed"))],
            ["therapist", session.therapist_name], ["date", dateTime(session.session_date)],
            ["language", session.language && languageName(session.language)], ["length", session.duration_seconds && timecode(session.duration_seconds)],
            ["file", session.filename], ["size", session.bytes && byteSize(session.bytes)], ["added", dateTime(session.created_at)],
        ];
        return known.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", t(`column.${name}`)), h("dd", value)]);
    }

    #fillActions(session) {
        const { status } = session.progress;
        const key = `${status === "processed"} ${isUnfinished(status)} ${session.bytes === null} ${this.#manages}`;
        if (this.#part.actions.dataset.key === key) return;
        this.#part.actions.dataset.key = key;
        const current = () => this.#context.store.get(this.#id);
        fill(this.#part.actions, this.#manages && [
            button(t("details.edit"), { kind: "small", onclick: () => this.#editDetails(current()) }),
            status === "processed" && button(t("again"), { kind: "small", onclick: () => this.#again() }),
            isUnfinished(status) && button(t("cancel.processing"), { kind: "small", onclick: () => this.#cancel() }),
            button(t("delete"), { kind: "small danger", onclick: () => this.#delete(current()) }),
        ]);
    }

    // MARK: What is read

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
                await this.#readHistory();
            }
        } catch (error) {
            this.#readFor = ""; // the next change of this session will try again
            if (!this.#context.signal.aborted) this.#context.fail(error);
        }
        if (status === "failed") this.#fill(this.#context.store.get(this.#id) ?? session);
    }

    async #readHistory() {
        const { items } = await this.#context.get(`/api/sessions/${this.#id}/history`, { signal: this.#context.signal });
        this.#part.historyCard.hidden = items.length === 0;
        const session = this.#context.store.get(this.#id);
        const names = { [this.#user.id]: t("you"), ...(session?.therapist_id ? { [session.therapist_id]: session.therapist_name } : {}), [this.#user.id]: t("you") };
        fill(this.#part.history, items.map((item) => h("li",
            h("span", t(`history.${item.kind}`, { n: item.attempt })),
            h("span.muted", t("history.by", { at: dateTime(item.at), by: item.by === null ? t("pipeline") : names[item.by] ?? t("somebody") })),
            button(t("show"), { kind: "small quiet", onclick: () => this.#showEarlier(item) }))));
    }

    async #showEarlier(item) {
        const { rendered } = await import("./notes.js");
        const { parseOrdered } = await import("./ordered-json.js");
        const body = item.kind === "transcript"
            ? (item.content.segments ?? []).map((segment) => h("p.passage", segment.speaker && h("strong.passage-speaker", segment.speaker), h("span.passage-time", timecode(segment.start)), " ", segment.text))
            : rendered(parseOrdered(JSON.stringify(item.content)));
        await dialog({ title: t(`history.${item.kind}`, { n: item.attempt }), wide: true, body: h("div.earlier", { tabIndex: 0 }, body), submit: t("close"), cancel: "" });
    }

    // MARK: What the user does

    async #retry(source) {
        source.disabled = true;
        try {
            this.#context.store.applyProgress(await this.#context.request("POST", `/api/sessions/${this.#id}/retry`, { body: {} }));
            this.#part.heading.focus();
        } catch (error) {
            this.#context.fail(error);
        }
        source.disabled = false;
    }

    #uploadAgain(session) {
        this.#context.uploads.ask({ patientId: session.patient_id, date: session.session_date, replaces: session });
    }

    #again() {
        return confirmation({
            title: t("again"), text: t("again.text"), action: t("again"), tone: "primary",
            onSubmit: async () => {
                const body = { again: true };
                this.#context.store.applyProgress(await this.#context.request("POST", `/api/sessions/${this.#id}/retry`, { body }));
            },
        });
    }

    #cancel() {
        return confirmation({
            title: t("cancel.title"), text: t("cancel.text"), action: t("cancel.processing"),
            onSubmit: async () => {
                this.#context.store.applyProgress(await this.#context.request("POST", `/api/sessions/${this.#id}/cancel`));
            },
        });
    }

    async #delete(session) {
        const list = [
            session.filename && session.bytes ? t("delete.recording", { name: session.filename, size: byteSize(session.bytes) }) : null,
            t("delete.transcript"), t("delete.notes"), t("delete.history"),
        ].filter(Boolean);
        const text = t("delete.text", { name: nameOf(session, this.#user), date: dateTime(timeOf(session)) });
        const isDone = await confirmation({
            title: t("delete.title"), text, list, action: t("delete"),
            onSubmit: () => this.#context.request("DELETE", `/api/sessions/${this.#id}`),
        });
        if (!isDone) return;
        this.#wasHere = false;
        this.#context.go("#/");
        this.#context.store.remove(this.#id);
        this.#context.toast(t("deleted"));
    }

    #editDetails(session) {
        const at = session.session_date ? new Date(session.session_date) : null;
        const local = at ? new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16) : "";
        const tags = ["de", "de-AT", "de-CH", "en", "en-GB", "en-US", "fr", "es", "it", "nl", "pl", "pt", "ru", "tr", "uk", "ar"];
        return dialog({
            title: t("details.edit"), submit: t("save"),
            body: [
                field({ label: t("column.date"), name: "date", type: "datetime-local", value: local }),
                field({ label: t("column.language"), name: "language", value: session.language ?? "", hint: t("details.language.hint"), list: "language-tags", maxLength: 100 }),
                h("datalist", { id: "language-tags" }, tags.map((tag) => h("option", { value: tag }, languageName(tag)))),
                session.progress.status === "processed" && h("label.check", h("input", { type: "checkbox", name: "again" }), t("details.again")),
            ],
            onSubmit: async (data) => {
                const changes = { session_date: data.get("date") ? new Date(data.get("date")).toISOString() : null, language: data.get("language").trim() || null };
                this.#context.store.put(await this.#context.request("PATCH", `/api/sessions/${this.#id}`, { body: changes }));
                if (data.get("again")) {
                    const body = { again: true };
                    this.#context.store.applyProgress(await this.#context.request("POST", `/api/sessions/${this.#id}/retry`, { body }));
                }
            },
        });
    }
}
