/** The earlier versions of a transcript and of notes, which corrections and further runs have replaced. */

import { button, dialog, fill, h } from "./dom.js";
import { rendered } from "./notes.js";
import { parseOrdered } from "./ordered-json.js";
import { dateTime, t, timecode } from "./words.js";

export class SessionHistory {
    #id;
    #context;
    #list = h("ul.history");
    root = h("section.card", { hidden: true, "aria-label": t("history") }, h("h2", t("history")), this.#list);

    constructor(id, context) {
        this.#id = id;
        this.#context = context;
    }

    async read() {
        const { user, store, get, signal } = this.#context;
        const { items } = await get(`/api/sessions/${this.#id}/history`, { signal });
        const session = store.get(this.#id);
        const names = new Map([[session?.therapist_id, session?.therapist_name], [user.id, t("you")]]);
        const by = (id) => (id === null ? t("pipeline") : names.get(id) ?? t("somebody"));
        this.root.hidden = items.length === 0;
        fill(this.#list, items.map((item) => h("li",
            h("span", t(`history.${item.kind}`, { n: item.attempt })),
            h("span.muted", t("history.by", { at: dateTime(item.at), by: by(item.by) })),
            button(t("show"), { kind: "small quiet", "aria-label": `${t("show")}: ${t(`history.${item.kind}`, { n: item.attempt })}, ${dateTime(item.at)}`, onclick: () => showEarlier(item) }))));
    }
}

function showEarlier({ kind, attempt, content }) {
    const body = kind === "transcript" ? (content.segments ?? []).map(passage) : rendered(parseOrdered(JSON.stringify(content)));
    return dialog({ title: t(`history.${kind}`, { n: attempt }), wide: true, body: h("div.earlier", { tabIndex: 0 }, body), submit: t("close"), cancel: "" });
}

function passage({ speaker, start, text }) {
    return h("p.passage", speaker && h("strong.passage-speaker", speaker), h("span.passage-time", timecode(start)), " ", text);
}
