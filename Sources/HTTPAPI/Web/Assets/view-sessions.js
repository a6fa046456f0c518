/** The sessions: what is in progress, what needs somebody, and a table of all by date. The address has the whole question. */

import { button, fill, h, icon, showText } from "./dom.js";
import { isIn } from "./session-words.js";
import { OpenSessions } from "./sessions-open.js";
import { SessionsTable } from "./sessions-table.js";
import { UNFINISHED } from "./store.js";
import { number, t } from "./words.js";

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
    #query = new URLSearchParams();
    #part = {};
    #open;
    #table;
    /** The page of the table: `{ ids, next, counts }`, or null before it is there. */
    #page = null;
    #reload = 0;
    #typing = 0;
    #asked = 0;
    #onResync = () => this.#reloadSoon();

    constructor(root, context) {
        this.#context = context;
        this.#open = new OpenSessions(context);
        this.#table = new SessionsTable(context);
        const { role } = context.user;
        const isPatient = role === "patient";
        const title = t(isPatient ? "sessions.yours" : "nav.sessions");
        context.title(title);
        const part = this.#part;
        part.upload = button(t("upload.open"), { kind: "primary", onclick: () => context.uploads.ask(), hidden: role === "pipeline" });
        part.search = h("input", {
            type: "search", "aria-label": t("search"), placeholder: t(isPatient ? "search.files" : "search.hint"), maxLength: 200,
            oninput: () => this.#type(),
        });
        part.from = h("input", { type: "date", onchange: () => this.#ask({ from: part.from.value }) });
        part.to = h("input", { type: "date", onchange: () => this.#ask({ to: part.to.value }) });
        part.clear = button(t("filters.clear"), { kind: "small quiet", onclick: () => context.go("#/") });
        part.patient = h("span.filter-patient");
        part.tabs = h("div.tabs", { role: "group", "aria-label": t("filters.status") });
        part.filters = h("div.filters", { role: "search" }, h("label.search", icon("search"), part.search),
            h("label.period", t("from"), part.from), h("label.period", t("to"), part.to), part.patient, part.clear);
        part.care = h("aside.card.care", { hidden: true });
        part.error = h("p.notice.error", { role: "alert", hidden: true });
        fill(root,
            h("div.view-head", h("h1", { tabIndex: -1 }, title), part.upload),
            this.#open.roots,
            part.tabs, part.filters,
            part.error, this.#table.root, part.care);
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

    /** A session has changed, or many have (null). */
    update(id) {
        const session = id && this.#context.store.get(id);
        if (session && this.#renewRow(session)) return;
        this.#renewOpen();
        this.#table.renew();
        if (session) this.#reloadSoon();
    }

    /** Brings the rows of one session up to date. Returns false if it belongs to another place now. */
    #renewRow(session) {
        const isSame = this.#table.renewRow(session);
        return this.#open.renewRow(session) || (isSame && !this.#open.has(session.id));
    }

    #renewOpen() { this.#open.renew({ isFiltered: this.#isFiltered }); }

    // MARK: The question

    get #isFiltered() { return ["q", "status", "from", "to", "patient", "cursor"].some((name) => this.#query.get(name)); }

    /** A search finds sessions of all statuses. */
    get #isSearch() { return ["q", "from", "to", "patient"].some((name) => this.#query.get(name)); }

    #type() {
        clearTimeout(this.#typing);
        this.#typing = setTimeout(() => this.#ask({ q: this.#part.search.value.trim() }, { replace: Boolean(this.#query.get("q")) }), 250);
    }

    /** Changes the address. The first page of another question comes first. */
    #ask(changes, options) {
        this.#context.query({ ...changes, cursor: null, page: null }, options);
    }

    async navigated(query) {
        const isNew = this.#query.toString() !== query.toString() || this.#page === null;
        this.#query = query;
        const part = this.#part;
        for (const [name, input] of [["q", part.search], ["from", part.from], ["to", part.to]]) {
            if (document.activeElement !== input) input.value = query.get(name) ?? "";
        }
        part.clear.hidden = !this.#isFiltered;
        if (isNew) this.#page = this.#context.store.pages.get(query.toString()) ?? null;
        this.#show();
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
            this.#table.giveUp();
            return;
        }
        this.#show();
    }

    /** Reads the table again, once for many changes. */
    #reloadSoon() {
        clearTimeout(this.#reload);
        this.#reload = setTimeout(() => this.#load(), 400);
    }

    // MARK: What the answer shows

    #show() {
        this.#renewOpen();
        this.#showTabs();
        this.#showPatient();
        const status = this.#query.get("status");
        const isFirst = this.#page?.ids.length === 0 && !this.#isFiltered && this.#open.isEmpty;
        this.#part.tabs.hidden = this.#part.filters.hidden = isFirst; // there is nothing to find yet
        this.#table.show(this.#page, {
            query: this.#query,
            title: t(status ? `table.${status}` : this.#isSearch ? "table.found" : "table.done"),
            emptiness: this.#isFiltered ? "filtered" : this.#open.isEmpty ? "new" : "busy",
        });
    }

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

    #showPatient() {
        const id = this.#query.get("patient");
        this.#part.patient.hidden = !id;
        if (!id) return;
        const named = (this.#page?.ids ?? []).map((each) => this.#context.store.get(each)).find((each) => each?.patient_id === id);
        fill(this.#part.patient, h("span.chip", named?.patient_name ?? t("patient.one"),
            h("button.icon-button", { type: "button", "aria-label": t("filters.patient.clear"), onclick: () => this.#ask({ patient: null }) }, icon("close"))));
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

/** The beginning of a day in the user's time zone, as the API takes it; some days later with `add`. */
function startOf(day, add = 0) {
    if (!/^\d{4}-\d\d-\d\d$/.test(day ?? "")) return null;
    const at = new Date(`${day}T00:00:00`);
    at.setDate(at.getDate() + add);
    return Number.isNaN(at.getTime()) ? null : at.toISOString();
}
