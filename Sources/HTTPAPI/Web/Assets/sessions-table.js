/** The table of the list: one page of sessions, the words of an empty one, and the ways to other pages. */

import { button, fill, h, keep, setText } from "./dom.js";
import { chip, nameOf, renewChip, timeOf } from "./session-words.js";
import { date, isUnfinished, percent, t, time, timecode } from "./words.js";

export class SessionsTable {
    #context;
    #user;
    #rows = new Map();
    #title = h("h2");
    #skeleton = h("div.skeleton", { "aria-hidden": "true" }, h("span"), h("span"), h("span"));
    #body = h("tbody");
    #table;
    #empty = h("div.empty", { hidden: true });
    #pager = h("nav.pager", { "aria-label": t("pager") });
    root;

    constructor(context) {
        this.#context = context;
        this.#user = context.user;
        this.#table = h("table.table", h("thead", h("tr", columns(this.#user).map((name) => h("th", { scope: "col" }, t(`column.${name}`))))), this.#body);
        this.root = h("section.block", this.#title, this.#skeleton, this.#table, this.#empty, this.#pager);
    }

    /**
     * Shows a page, or that it is being read if it is null.
     *
     * `emptiness` says why the page may be empty: `filtered`, `busy` (everything is above the table) or `new`.
     */
    show(page, { title, query, emptiness }) {
        const sessions = (page?.ids ?? []).map((id) => this.#context.store.get(id)).filter(Boolean);
        this.#skeleton.hidden = page !== null;
        setText(this.#title, title);
        this.#table.hidden = sessions.length === 0;
        keep(this.#body, this.#rows, sessions, {
            make: (session) => this.#makeRow(session), renew: (row, session) => this.#renew(row, session),
        });
        const isEmpty = page !== null && sessions.length === 0;
        this.#title.hidden = isEmpty;
        this.#empty.hidden = !isEmpty;
        if (isEmpty) this.#showEmpty(emptiness);
        this.#showPager(page, Number(query.get("page")) || 1);
    }

    /** The read has failed: nothing will come. */
    giveUp() { this.#skeleton.hidden = true; }

    /** Brings all rows up to date. */
    renew() {
        for (const [id, row] of this.#rows) {
            const session = this.#context.store.get(id);
            if (session) this.#renew(row, session);
        }
    }

    /** Brings the row of one session up to date. Returns true if it is here, and has its status still. */
    renewRow(session) {
        const row = this.#rows.get(session.id);
        if (!row) return false;
        const isSame = row.root.dataset.status === session.progress.status;
        this.#renew(row, session);
        return isSame;
    }

    #makeRow(session) {
        const row = { link: h("a.row-link", { href: `#/sessions/${session.id}` }), chip: chip(), cells: {} };
        const content = { date: [row.link, h("span.cell-time.muted")], status: [row.chip.root] };
        for (const name of columns(this.#user)) {
            row.cells[name] = h("td", { "data-label": t(`column.${name}`), className: `cell-${name}` }, ...(content[name] ?? []));
        }
        row.root = h("tr", { "data-session": session.id }, Object.values(row.cells));
        return row;
    }

    #renew(row, session) {
        const { status, progress } = session.progress;
        row.root.dataset.status = status;
        setText(row.link, date(timeOf(session)));
        row.link.setAttribute("aria-label", `${nameOf(session, this.#user)}, ${date(timeOf(session))}`);
        setText(row.cells.date.lastElementChild, time(timeOf(session)));
        renewChip(row.chip, session, this.#user);
        if (isUnfinished(status) && status !== "pending") setText(row.chip.text, `${row.chip.text.textContent} · ${percent(progress)}`);
        if (row.cells.patient) setText(row.cells.patient, session.patient_name ?? t("patient.unnamed"));
        if (row.cells.therapist) setText(row.cells.therapist, session.therapist_name ?? "–");
        for (const [name, text] of [["length", session.duration_seconds && timecode(session.duration_seconds)], ["file", session.filename]]) {
            setText(row.cells[name], text || "–");
            row.cells[name].classList.toggle("cell-none", !text);
        }
    }

    #showEmpty(emptiness) {
        const { role } = this.#user;
        if (emptiness === "filtered") {
            fill(this.#empty, h("h2", t("empty.found")), h("p.muted", t("empty.found.hint")));
        } else if (emptiness === "busy") {
            fill(this.#empty, h("p.muted", t("empty.done")));
        } else {
            fill(this.#empty, h("h2", t("empty.title")), h("p.muted", t(`empty.${role}`)),
                role !== "pipeline" && button(t("upload.choose"), { kind: "primary", onclick: () => this.#context.uploads.ask() }));
        }
    }

    #showPager(page, number) {
        const { query } = this.#context;
        fill(this.#pager,
            number > 1 && button(t("pager.first"), { onclick: () => query({ cursor: null, page: null }) }),
            number > 1 && h("span.muted", t("pager.page", { n: number })),
            page?.next && button(t("pager.older"), { onclick: () => query({ cursor: page.next, page: number + 1 }) }));
    }
}

/** The columns for a role. */
const columns = (user) => ["date", user.role === "patient" ? "therapist" : "patient", "status", "length", "file"];
