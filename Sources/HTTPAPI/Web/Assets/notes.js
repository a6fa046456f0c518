/** The notes. The pipeline decides their form: names become headings, and lists become lists, in the order of the document. */

import { fetchRaw } from "./api.js";
import { button, fill, h, setText } from "./dom.js";
import { parseOrdered, writeOrdered } from "./ordered-json.js";
import { capitalised, t } from "./words.js";

export class Notes {
    #id;
    #context;
    #etag = null;
    #notes = null;
    #isEditing = false;
    #body = h("div.notes");
    #edit;
    root;

    constructor(id, context) {
        this.#id = id;
        this.#context = context;
        this.#edit = button(t("correct"), { kind: "small", "aria-label": t("correct.notes"), onclick: () => this.#correct() });
        this.root = h("section.card", { hidden: true, "data-part": "notes", "aria-label": t("notes") },
            h("div.card-head", h("h2", t("notes")), h("div.card-actions", this.#edit)), this.#body);
    }

    async read() {
        if (this.#isEditing) return;
        try {
            const response = await fetchRaw("GET", `/api/sessions/${this.#id}/notes`, { signal: this.#context.signal });
            this.#etag = response.headers.get("ETag");
            this.#notes = parseOrdered(await response.text());
            this.#show();
        } catch (error) {
            if (error.name === "AbortError" || error.status === 403 || error.status === 404) return;
            this.#context.fail(error);
        }
    }

    #show() {
        fill(this.#body, rendered(this.#notes));
        this.#edit.hidden = false;
        this.root.hidden = false;
    }

    #correct() {
        this.#isEditing = true;
        this.#edit.hidden = true;
        const [fields, value] = editor(this.#notes, t("notes"), 3);
        const error = h("p.field-error", { role: "alert" });
        const end = () => {
            this.#isEditing = false;
            this.#show();
        };
        const save = button(t("save"), { kind: "primary", onclick: async () => {
            save.disabled = true;
            try {
                const headers = { "If-Match": this.#etag, "Content-Type": "application/json" };
                await fetchRaw("PUT", `/api/sessions/${this.#id}/notes`, { raw: writeOrdered(value()), headers });
                this.#isEditing = false;
                await this.read();
                this.#context.toast(t("saved"));
                this.onCorrected?.();
            } catch (problem) {
                setText(error, problem.status === 412 ? t("correct.conflict") : problem.message);
                save.disabled = false;
            }
        } });
        fill(this.#body, fields, error, h("div.session-actions", save, button(t("cancel"), { kind: "quiet", onclick: end })));
        this.#body.querySelector("textarea, input")?.focus();
    }
}

/** The notes as elements. */
export function rendered(value, level = 3) {
    if (value === null || value === undefined || value === "") return [];
    if (Array.isArray(value)) return [h("ul", value.map((item) => h("li", rendered(item, level))))];
    if (value instanceof Map) {
        return [...value].flatMap(([name, inner]) => {
            const content = rendered(inner, Math.min(level + 1, 4));
            return content.length ? [h(`h${level}`, capitalised(name)), ...content] : [];
        });
    }
    return [h("p", String(value))];
}

/** Fields for a value, and a function that reads it from them. A list of texts is one field with a line for each. */
function editor(value, label, level) {
    if (value instanceof Map) {
        const parts = [...value].map(([name, inner]) => [name, ...editor(inner, capitalised(name), Math.min(level + 1, 4))]);
        return [parts.map(([, fields]) => fields), () => new Map(parts.map(([name, , read]) => [name, read()]))];
    }
    if (Array.isArray(value) && value.every((item) => typeof item === "string")) {
        const area = h("textarea", { value: value.join("\n"), rows: value.length + 1 });
        return [h("label.note-field", h("span", `${label} `, h("span.muted", t("notes.lines"))), area), () => area.value.split("\n").map((line) => line.trim()).filter(Boolean)];
    }
    if (Array.isArray(value)) {
        const parts = value.map((item, index) => editor(item, `${label} ${index + 1}`, level));
        return [parts.map(([fields]) => fields), () => parts.map(([, read]) => read())];
    }
    if (typeof value === "string") {
        const area = h("textarea", { value, rows: Math.max(2, Math.ceil(value.length / 70)) });
        return [h("label.note-field", label, area), () => area.value];
    }
    return [h("p", h("span.muted", `${label}: `), String(value)), () => value];
}
