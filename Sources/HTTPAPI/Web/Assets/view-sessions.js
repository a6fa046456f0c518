/** The sessions: what is in progress, what needs somebody, and a table of all by date. The address has the whole question. */

import { announce, button, fill, h, icon, keep, setText, showText } from "./dom.js";
import { chip, failedRow, isIn, nameOf, renewChip, renewFailed, renewWorking, timeOf, workingRow } from "./session-words.js";
import { UNFINISHED } from "./store.js";
import { date, isUnfinished, number, percent, t, time, timecode } from "./words.js";

const PAGE_SIZE = 50;
/** The statuses of each filter. */
const STATUSES = { working: UNFINISHED, failed: "failed", done: "processed" };

export async function mount(root, context) {
    const view = new SessionsView(root, context);
    await view.navigated(context.route.query);
    return view;
}

class SessionsView {
    #context;
    #user;
    #query = new URLSearchParams();
    #part = {};
    #working = new Map();
    #failed = new Map();
    #rows = new Map();
    /** The page of the table: `{ ids, next, counts }`, or null before it is there. */
    #page = null;
    #reload = 0;
    #typing = 0;
    #asked = 0;
    #onResync = () => this.#reloadSoon();

    constructor(root, context) {
        this.#context = context;
        this.#user = context.user;
        const isPatient = context.user.role === "patient";
        context.title(t(isPatient ? "sessions.yours" : "nav.sessions"));
        const part = this.#part;
        part.upload = button(t("upload.open"), { kind: "primary", onclick: () => context.uploads.ask(), hidden: context.user.role === "pipeline" });
        part.search = h("input", {
            type: "search", "aria-label": t("search"), placeholder: t(isPatient ? "search.files" : "search.hint"), maxLength: 200,
            oninput: () => this.#type(),
        });
        part.from = h("input", { type: "date", "aria-label": t("from"), onchange: () => this.#ask({ from: part.from.value }) });
        part.to = h("input", { type: "date", "aria-label": t("to"), onchange: () => this.#ask({ to: part.to.value }) });
        part.clear = button(t("filters.clear"), { kind: "small quiet", onclick: () => context.go("#/") });
        part.patient = h("span.filter-patient");
        part.tabs = h("div.tabs", { role: "group", "aria-label": t("filters.status") });
        part.working = h("ul.sessions", { "aria-label": t("sessions.working") });
        part.workingBlock = h("section.block", { hidden: true, "aria-label": t("sessions.working") }, part.workingTitle = h("h2"), part.working);
        part.failed = h("ul.sessions.failed", { "aria-label": t("sessions.failed") });
        part.failedBlock = h("section.block", { hidden: true, "aria-label": t("sessions.failed") }, part.failedTitle = h("h2"), part.failed);
        part.care = h("aside.card.care", { hidden: true });
        part.error = h("p.notice.error", { role: "alert", hidden: true });
        part.body = h("tbody");
        part.tableTitle = h("h2");
        part.table = h("table.table", h("thead", h("tr", columns(this.#user).map((name) => h("th", { scope: "col" }, t(`column.${name}`))))), part.body);
        part.empty = h("div.empty", { hidden: true });
        part.skeleton = h("div.skeleton", { "aria-hidden": "true" }, h("span"), h("span"), h("span"));
        part.pager = h("nav.pager", { "aria-label": t("pager") });
        part.tableBlock = h("section.block", part.tableTitle, part.skeleton, part.table, part.empty, part.pager);
        fill(root,
            h("div.view-head", h("h1", { tabIndex: -1 }, t(isPatient ? "sessions.yours" : "nav.sessions")), part.upload),
            part.workingBlock, part.failedBlock,
            part.tabs,
            h("div.filters", { role: "search" }, h("label.search", icon("search"), part.search),
                h("div.period", part.from, h("span.muted", "–"), part.to), part.patient, part.clear),
            part.error, part.tableBlock, part.care);
        context.store.addEventListener("resync", this.#onResync);
        context.store.addEventListener("removed", this.#onResync);
        if (isPatient) this.#showCare();
        this.update(null);
    }

    close() {
        clearTimeout(this.#reload);
        clearTimeout(this.#typing);
        this.#context.store.removeEventListener("resync", this.#onResync);
        this.#context.store.removeEventListener("removed", this.#onResync);
    }

    // MARK: What is on the way

    /** A session has changed, or many have (null). */
    update(id) {
        const session = id && this.#context.store.get(id);
        if (session && this.#renewRow(session)) return;
        this.#renewBlocks();
        for (const [known, row] of this.#rows) {
            const each = this.#context.store.get(known);
            if (each) this.#renewTableRow(row, each);
        }
        if (session) this.#reloadSoon();
    }

    /** Brings the rows of one session up to date. Returns false if it belongs to another place now. */
    #renewRow(session) {
        const { status } = session.progress;
        const row = this.#rows.get(session.id);
        const isSame = row?.root.dataset.status === status;
        if (row) this.#renewTableRow(row, session);
        const working = this.#working.get(session.id);
        if (working && isUnfinished(status)) {
            renewWorking(working, session, this.#user);
            return true;
        }
        const failed = this.#failed.get(session.id);
        if (failed && status === "failed") {
            renewFailed(failed, session, this.#user);
            return true;
        }
        return isSame && !working && !failed;
    }

    #renewBlocks() {
        const { store } = this.#context;
        const part = this.#part;
        const [working, failed] = this.#isFiltered ? [[], []] : [store.unfinished(), store.failed()];
        part.workingBlock.hidden = working.length === 0;
        part.failedBlock.hidden = failed.length === 0;
        setText(part.workingTitle, t("sessions.working.n", { n: working.length }));
        setText(part.failedTitle, t("sessions.failed.n", { n: failed.length }));
        keep(part.working, this.#working, working, {
            make: (session) => workingRow(session, this.#user), renew: (row, session) => renewWorking(row, session, this.#user),
        });
        keep(part.failed, this.#failed, failed, {
            make: (session) => failedRow(session, this.#user, (action, id) => this.#act(action, id)),
            renew: (row, session) => renewFailed(row, session, this.#user),
        });
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

    // MARK: The question

    get #isFiltered() { return ["q", "status", "from", "to", "patient", "cursor"].some((name) => this.#query.get(name)); }

    #type() {
        clearTimeout(this.#typing);
        this.#typing = setTimeout(() => this.#ask({ q: this.#part.search.value.trim() }, { replace: Boolean(this.#query.get("q")) }), 250);
    }

    /** Changes the address. The first page of another question comes first. */
    #ask(changes, options) {
        this.#context.query({ ...changes, cursor: null, page: null }, options);
    }

    async navigated(query) {
        const before = this.#query.toString();
        this.#query = query;
        const part = this.#part;
        for (const [name, input] of [["q", part.search], ["from", part.from], ["to", part.to]]) {
            if (document.activeElement !== input) input.value = query.get(name) ?? "";
        }
        part.clear.hidden = !this.#isFiltered;
        this.#showPatient();
        this.#renewBlocks();
        const isNew = before !== query.toString() || this.#page === null;
        if (isNew) this.#page = this.#context.store.pages.get(query.toString()) ?? null;
        this.#showTable();
        this.#showTabs();
        const loading = this.#load();
        if (this.#page === null) await loading;
    }

    #parameters() {
        const query = this.#query;
        const parameters = new URLSearchParams({ sort: "session_date", limit: String(PAGE_SIZE) });
        const status = STATUSES[query.get("status")] ?? (this.#isSearch ? null : "processed");
        const [from, to] = [startOf(query.get("from")), startOf(query.get("to"), 1)];
        const values = { status, q: query.get("q"), from, to, patient_id: query.get("patient"), cursor: query.get("cursor") };
        for (const [name, value] of Object.entries(values)) if (value) parameters.set(name, value);
        return parameters;
    }

    /** A search finds sessions of all statuses. */
    get #isSearch() { return ["q", "from", "to", "patient"].some((name) => this.#query.get(name)); }

    /** Reads the page of the table, and the counts of all pages. */
    async #load() {
        const key = this.#query.toString();
        const asked = ++this.#asked;
        const parameters = this.#parameters();
        const { get, store, signal } = this.#context;
        try {
            const reads = [get(`/api/sessions?${parameters}`, { signal })];
            if (parameters.has("cursor")) {
                parameters.delete("cursor");
                parameters.set("limit", "1");
                reads.push(get(`/api/sessions?${parameters}`, { signal }));
            }
            const [page, first = page] = await Promise.all(reads);
            for (const session of page.items) store.put(session, { quiet: true });
            const read = { ids: page.items.map(({ id }) => id), next: page.next_cursor, counts: first.counts ?? {} };
            store.pages.set(key, read);
            if (asked !== this.#asked) return;
            this.#page = read;
            showText(this.#part.error, "");
        } catch (error) {
            if (signal.aborted || error.status === 401 || asked !== this.#asked) return;
            showText(this.#part.error, error.message);
            this.#part.skeleton.hidden = true;
        }
        this.#renewBlocks();
        this.#showTable();
        this.#showTabs();
    }

    /** Reads the table again, once for many changes. */
    #reloadSoon() {
        clearTimeout(this.#reload);
        this.#reload = setTimeout(() => this.#load(), 400);
    }

    // MARK: What the answer shows

    #showTabs() {
        const counts = this.#page?.counts ?? {};
        const sum = (isWanted) => Object.entries(counts).filter(([status]) => isWanted(status)).reduce((all, [, n]) => all + n, 0);
        const present = this.#query.get("status") ?? "";
        const tabs = [["", sum(() => true)], ["working", sum(isIn.working)], ["failed", sum(isIn.failed)], ["done", sum(isIn.done)]];
        const focused = document.activeElement?.dataset.tab;
        fill(this.#part.tabs, tabs.map(([name, n]) => h("button.tab", {
            type: "button", "data-tab": name, "aria-pressed": String(name === present), onclick: () => this.#ask({ status: name }),
        }, t(`tab.${name || "all"}`), " ", h("span.count", number(n)))));
        if (focused !== undefined) this.#part.tabs.querySelector(`[data-tab="${focused}"]`)?.focus();
    }

    async #showPatient() {
        const id = this.#query.get("patient");
        this.#part.patient.hidden = !id;
        if (!id) return;
        const named = (this.#page?.ids ?? []).map((each) => this.#context.store.get(each)).find((each) => each?.patient_id === id);
        fill(this.#part.patient, h("span.chip", named?.patient_name ?? t("patient.one"),
            h("button.icon-button", { type: "button", "aria-label": t("filters.patient.clear"), onclick: () => this.#ask({ patient: null }) }, icon("close"))));
    }

    #showTable() {
        const part = this.#part;
        const page = this.#page;
        const { store } = this.#context;
        part.skeleton.hidden = page !== null;
        const sessions = (page?.ids ?? []).map((id) => store.get(id)).filter(Boolean);
        const status = this.#query.get("status");
        setText(part.tableTitle, t(status ? `table.${status}` : this.#isSearch ? "table.found" : "table.done"));
        part.table.hidden = sessions.length === 0;
        keep(part.body, this.#rows, sessions, {
            make: (session) => this.#makeRow(session), renew: (row, session) => this.#renewTableRow(row, session),
        });
        const isEmpty = page !== null && sessions.length === 0;
        part.empty.hidden = !isEmpty;
        if (isEmpty) this.#showEmpty();
        part.tableTitle.hidden = isEmpty;
        if (this.#query.get("patient")) this.#showPatient();
        this.#showPager();
    }

    #showEmpty() {
        const { empty } = this.#part;
        const isBusy = !this.#part.workingBlock.hidden || !this.#part.failedBlock.hidden;
        if (this.#isFiltered) {
            fill(empty, h("h2", t("empty.found")), h("p.muted", t("empty.found.hint")),
                button(t("filters.clear"), { onclick: () => this.#context.go("#/") }));
        } else if (isBusy) {
            fill(empty, h("p.muted", t("empty.done")));
        } else {
            const { role } = this.#user;
            fill(empty, h("h2", t("empty.title")), h("p.muted", t(`empty.${role}`)),
                role !== "pipeline" && button(t("upload.choose"), { kind: "primary", onclick: () => this.#context.uploads.ask() }));
        }
    }

    #showPager() {
        const page = Number(this.#query.get("page")) || 1;
        const { next } = this.#page ?? {};
        const parts = [];
        if (page > 1) {
            parts.push(button(t("pager.first"), { onclick: () => this.#context.query({ cursor: null, page: null }) }),
                h("span.muted", t("pager.page", { n: page })));
        }
        if (next) parts.push(button(t("pager.older"), { onclick: () => this.#context.query({ cursor: next, page: page + 1 }) }));
        fill(this.#part.pager, parts);
    }

    #makeRow(session) {
        const row = { link: h("a.row-link", { href: `#/sessions/${session.id}` }), chip: chip(), cells: {} };
        const cell = (name, ...content) => {
            row.cells[name] = h("td", { "data-label": t(`column.${name}`), className: `cell-${name}` }, ...content);
            return row.cells[name];
        };
        const content = { date: [row.link, h("span.cell-time.muted")], status: [row.chip.root] };
        row.root = h("tr", { "data-session": session.id }, columns(this.#user).map((name) => cell(name, ...(content[name] ?? []))));
        return row;
    }

    #renewTableRow(row, session) {
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

    /** For a patient: who can see the sessions, and whom to ask. */
    async #showCare() {
        try {
            const { items } = await this.#context.get("/api/therapists?limit=50", { signal: this.#context.signal });
            const names = items.map((person) => h("li", h("strong", person.full_name), " ", h("a", { href: `mailto:${person.email}` }, person.email)));
            fill(this.#part.care, h("h2", t("care.title")), h("p", t(items.length ? "care.text" : "care.nobody")), h("ul.bullets", names), h("p.muted", t("care.ask")));
            this.#part.care.hidden = false;
        } catch {
            // The list is no part of what the patient came for.
        }
    }
}

/** The columns for a role. */
const columns = (user) => ["date", user.role === "patient" ? "therapist" : "patient", "status", "length", "file"];

/** The beginning of a day in the user's time zone, as the API takes it; some days later with `add`. */
function startOf(day, add = 0) {
    if (!/^\d{4}-\d\d-\d\d$/.test(day ?? "")) return null;
    const at = new Date(`${day}T00:00:00`);
    at.setDate(at.getDate() + add);
    return Number.isNaN(at.getTime()) ? null : at.toISOString();
}
