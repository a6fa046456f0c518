/** What is above the table, however many there are: the sessions in progress, and those that need somebody. */

import { announce, h, keep, setText } from "./dom.js";
import { failedRow, renewFailed, renewWorking, workingRow } from "./session-words.js";
import { isUnfinished, t } from "./words.js";

export class OpenSessions {
    #context;
    #user;
    #working = new Block("working");
    #failed = new Block("failed");
    roots = [this.#working.root, this.#failed.root];

    constructor(context) {
        this.#context = context;
        this.#user = context.user;
    }

    /** True if no session is on the screen here. */
    get isEmpty() { return this.#working.rows.size + this.#failed.rows.size === 0; }

    has(id) { return this.#working.rows.has(id) || this.#failed.rows.has(id); }

    /** Shows all open sessions, or none while a filter asks for others. */
    renew({ isFiltered }) {
        const { store } = this.#context;
        const [working, failed] = isFiltered ? [[], []] : [store.unfinished(), store.failed()];
        this.#working.show(working, {
            make: (session) => workingRow(session, this.#user), renew: (row, session) => renewWorking(row, session, this.#user),
        });
        this.#failed.show(failed, {
            make: (session) => failedRow(session, this.#user, (action, id) => this.#act(action, id)),
            renew: (row, session) => renewFailed(row, session, this.#user),
        });
    }

    /** Brings the row of one session up to date. Returns false if it is not here, or belongs to the other block now. */
    renewRow(session) {
        const { status } = session.progress;
        const [working, failed] = [this.#working.rows.get(session.id), this.#failed.rows.get(session.id)];
        if (working && isUnfinished(status)) renewWorking(working, session, this.#user);
        else if (failed && status === "failed") renewFailed(failed, session, this.#user);
        else return false;
        return true;
    }

    async #act(action, id) {
        const session = this.#context.store.get(id);
        if (action === "upload") {
            this.#context.uploads.ask({ patientId: session.patient_id, date: session.session_date, replaces: session });
            return;
        }
        try {
            this.#context.store.applyProgress(await this.#context.request("POST", `/api/sessions/${id}/retry`, { body: {} }));
            announce(t("retry.done"));
        } catch (error) {
            this.#context.fail(error);
        }
    }
}

/** One of the two lists, which goes when it is empty. */
class Block {
    #name;
    #title = h("h2");
    #list;
    rows = new Map();
    root;

    constructor(name) {
        this.#name = name;
        this.#list = h(name === "failed" ? "ul.sessions.failed" : "ul.sessions", { "aria-label": t(`sessions.${name}`) });
        this.root = h("section.block", { hidden: true, "aria-label": t(`sessions.${name}`) }, this.#title, this.#list);
    }

    show(sessions, { make, renew }) {
        this.root.hidden = sessions.length === 0;
        setText(this.#title, t(`sessions.${this.#name}.n`, { n: sessions.length }));
        keep(this.#list, this.rows, sessions, { make, renew });
    }
}
