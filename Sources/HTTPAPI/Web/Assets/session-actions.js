/** What a therapist or an administrator can do with a session: correct its details, process it again, stop it, delete it. */

import { button, confirmation, dialog, field, fill, h } from "./dom.js";
import { nameOf, timeOf } from "./session-words.js";
import { byteSize, dateTime, isUnfinished, languageName, t } from "./words.js";

/** The languages that the field offers. It takes any other tag, too. */
const TAGS = ["de", "de-AT", "de-CH", "en", "en-GB", "en-US", "fr", "es", "it", "nl", "pl", "pt", "ru", "tr", "uk", "ar"];

export class SessionActions {
    #id;
    #context;
    root = h("div.stack");
    /** Called before the session is deleted from the page. */
    onDeleted = () => {};

    constructor(id, context) {
        this.#id = id;
        this.#context = context;
    }

    /** Offers what the state of the session allows. Buttons stay while they are the same: the focus may be on one. */
    show(session) {
        const { mayManage } = this.#context.app;
        const { status } = session.progress;
        const key = `${status === "processed"} ${isUnfinished(status)} ${mayManage}`;
        if (this.root.dataset.key === key) return;
        this.root.dataset.key = key;
        const present = () => this.#context.store.get(this.#id);
        fill(this.root, mayManage && [
            button(t("details.edit"), { kind: "small", onclick: () => this.#editDetails(present()) }),
            status === "processed" && button(t("again"), { kind: "small", onclick: () => this.#again() }),
            isUnfinished(status) && button(t("cancel.processing"), { kind: "small", onclick: () => this.#cancel() }),
            button(t("delete"), { kind: "small danger", onclick: () => this.#delete(present()) }),
        ]);
    }

    /** Processes a failed session once more. Returns true if the server takes it up. */
    async retry() {
        try {
            await this.#processAgain({});
            return true;
        } catch (error) {
            this.#context.fail(error);
            return false;
        }
    }

    /** Asks for the recording of this session again. */
    upload(session) {
        this.#context.uploads.ask({ patientId: session.patient_id, date: session.session_date, replaces: session });
    }

    async #processAgain(body) {
        this.#context.store.applyProgress(await this.#context.request("POST", `/api/sessions/${this.#id}/retry`, { body }));
    }

    #again() {
        return confirmation({
            title: t("again"), text: t("again.text"), action: t("again"), tone: "primary", onSubmit: () => this.#processAgain({ again: true }),
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

    /** The question names what goes. */
    async #delete(session) {
        const list = [
            session.filename && session.bytes ? t("delete.recording", { name: session.filename, size: byteSize(session.bytes) }) : null,
            t("delete.transcript"), t("delete.notes"), t("delete.history"),
        ].filter(Boolean);
        const text = t("delete.text", { name: nameOf(session, this.#context.user), date: dateTime(timeOf(session)) });
        const isDone = await confirmation({
            title: t("delete.title"), text, list, action: t("delete"),
            onSubmit: () => this.#context.request("DELETE", `/api/sessions/${this.#id}`),
        });
        if (!isDone) return;
        this.onDeleted();
        this.#context.go("#/");
        this.#context.store.remove(this.#id);
        this.#context.toast(t("deleted"));
    }

    #editDetails(session) {
        const at = session.session_date ? new Date(session.session_date) : null;
        const local = at ? new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16) : "";
        return dialog({
            title: t("details.edit"), submit: t("save"),
            body: [
                field({ label: t("column.date"), name: "date", type: "datetime-local", value: local }),
                field({ label: t("column.language"), name: "language", value: session.language ?? "", hint: t("details.language.hint"), list: "language-tags", maxLength: 100 }),
                h("datalist", { id: "language-tags" }, TAGS.map((tag) => h("option", { value: tag }, languageName(tag)))),
                session.progress.status === "processed" && h("label.check", h("input", { type: "checkbox", name: "again" }), t("details.again")),
            ],
            onSubmit: async (data) => {
                const body = { session_date: data.get("date") ? new Date(data.get("date")).toISOString() : null, language: data.get("language").trim() || null };
                this.#context.store.put(await this.#context.request("PATCH", `/api/sessions/${this.#id}`, { body }));
                if (data.get("again")) await this.#processAgain({ again: true });
            },
        });
    }
}
