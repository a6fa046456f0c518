/** Why a session failed, in words by its cause, with the next step and a reference. */

import { button, fill, h, setText } from "./dom.js";
import { failureWords, t } from "./words.js";

export class Failure {
    #context;
    #actions;
    root = h("section.card.failure", { "data-part": "failure", hidden: true, "aria-label": t("failure.title") });
    /** Called after a retry, whose button goes with this card. */
    onRetried = () => {};

    /** @param {import("./session-actions.js").SessionActions} actions of the session */
    constructor(context, actions) {
        this.#context = context;
        this.#actions = actions;
    }

    /** Shows the card if the session has failed. The reference is what administrators search for. */
    show(session) {
        const { status, error, attempt } = session.progress;
        this.root.hidden = status !== "failed";
        if (this.root.hidden) return;
        const { mayManage } = this.#context.app;
        const { text, advice } = failureWords(error);
        const next = session.bytes === null || advice === "upload" ? "upload" : !mayManage ? "patient" : advice;
        const key = `${text}${next}${attempt}`;
        if (this.root.dataset.key === key) return;
        this.root.dataset.key = key;
        const retry = (kind) => button(t("retry"), { kind, onclick: (event) => this.#retry(event.currentTarget) });
        const actions = [
            next !== "upload" && mayManage && retry("primary"),
            next === "upload" && button(t("upload-again"), { kind: "primary", onclick: () => this.#actions.upload(session) }),
            next === "upload" && session.bytes !== null && mayManage && retry(""),
        ];
        const detail = h("p.muted");
        fill(this.root, h("h2", t("failure.title")), h("p", text), h("p.muted", t(`advice.${next}`)), detail,
            h("div.session-actions", actions), h("p.reference.muted", t("reference", { id: `${session.id.slice(0, 8)}-${attempt}` })));
        if (this.#context.user.role === "admin") this.#readStage(session.id, detail);
    }

    async #retry(source) {
        source.disabled = true;
        if (await this.#actions.retry()) this.onRetried();
        source.disabled = false;
    }

    /** For administrators: the stage that failed. What it wrote is not for the page. */
    async #readStage(id, target) {
        try {
            const { stage, exit_status: status } = await this.#context.get(`/api/sessions/${id}/failure`, { signal: this.#context.signal });
            setText(target, t("failure.stage", { stage: t(`failure.stage.${stage}`), status: status ?? "–" }));
        } catch {
            // No stage has failed, as after a cancellation.
        }
    }
}
