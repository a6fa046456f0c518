/** The audit log: who read or changed what, and when. For administrators. */

import { button, fill, h } from "./dom.js";
import { picker } from "./picker.js";
import { dateTime, has, moment, t, capitalised } from "./words.js";

const PAGE_SIZE = 50;
/** The actions that the log can hold, in the order of the list. A later release may have more. */
const ACTIONS = [
    "session.read", "status.read", "events.read", "transcript.read", "notes.read", "history.read", "failure.read", "recording.read",
    "stream.open", "stream.resume", "ticket.take", "caseload.open", "caseload.resume", "caseload.ticket", "session.upload", "upload.resume",
    "upload.end", "session.retry", "session.cancel", "session.change", "session.delete", "session.add", "session.correct", "progress.report",
    "transcript.correct", "notes.correct", "session.claim", "lease.keep", "lease.give_back", "transcript.store", "notes.store",
    "patient.export", "patient.erase", "sessions.list", "patients.list", "therapists.list", "users.list", "user.read", "user.add",
    "user.change", "user.remove", "assignments.list", "assignment.begin", "assignment.end", "sign_ins.list", "sign_in.begin", "sign_in.end",
    "sign_in.repeat", "audit.read", "audit.remove", "metrics.read", "webhooks.list", "webhook.add", "webhook.change", "webhook.remove",
    "webhook_deliveries.list", "webhook_delivery.retry", "probe.begin",
];
/** The filters by person or session, each with its parameter. Their values are ids. */
const IDS = { user: "user_id", patient: "patient_id", session: "session_id" };

/** "session.read" as "Session: read". */
function actionWords(action) {
    const [thing, deed] = action.split(".");
    return `${has(`audit.of.${thing}`) ? t(`audit.of.${thing}`) : capitalised(thing)}: ${has(`audit.do.${deed}`) ? t(`audit.do.${deed}`) : deed}`;
}

export async function mount(root, context) {
    await context.loadWords("admin-words");
    context.title(t("nav.audit"));
    const names = new Names(context);
    const rows = h("tbody");
    const table = h("table.table", h("thead", h("tr", ["at", "who", "action", "concerns", "outcome"].map((name) => h("th", { scope: "col" }, t(`audit.${name}`))))), rows);
    const empty = h("div.empty", { hidden: true }, h("h2", t("empty.found")), h("p.muted", t("audit.empty")));
    const more = button(t("audit.older"), { hidden: true });
    const select = (name, label, options) => h("select", { "aria-label": label, onchange: (event) => context.query({ [name]: event.target.value }) },
        h("option", { value: "" }, label), options.map(([value, text]) => h("option", { value }, text)));
    const action = select("action", t("audit.action.all"), ACTIONS.map((name) => [name, actionWords(name)]).sort((a, b) => a[1].localeCompare(b[1])));
    const outcome = select("outcome", t("audit.outcome.all"), ["allowed", "refused"].map((name) => [name, t(`audit.${name}`)]));
    const day = (name) => h("input", { type: "date", "aria-label": t(name), onchange: (event) => context.query({ [name]: event.target.value }) });
    const from = day("from");
    const to = day("to");
    const chips = h("div.filters", { hidden: true });
    fill(root, h("div.view-head", h("h1", { tabIndex: -1 }, t("nav.audit"))),
        picker(context, { label: t("audit.find"), path: "/api/users", clears: true, onPick: (person) => context.query(person.role === "patient" ? { patient: person.id } : { user: person.id }) }),
        h("div.filters", { role: "search" }, action, outcome, h("label.period", t("from"), from), h("label.period", t("to"), to)),
        chips, table, empty, h("p.pager", more));

    let asked = 0;
    const load = async (query, cursor = null) => {
        const mine = ++asked;
        const parameters = parametersOf(query);
        if (cursor) parameters.set("cursor", cursor);
        const page = await context.get(`/api/audit?${parameters}`, { signal: context.signal });
        await names.learn(page.items);
        if (mine !== asked) return;
        const made = page.items.map((entry) => rowOf(entry, names));
        if (cursor) rows.append(...made);
        else fill(rows, made);
        table.hidden = rows.childElementCount === 0;
        empty.hidden = !table.hidden;
        more.hidden = !page.next_cursor;
        more.onclick = () => load(query, page.next_cursor).catch(context.fail);
    };
    const take = async (query) => {
        for (const [control, name] of [[action, "action"], [outcome, "outcome"], [from, "from"], [to, "to"]]) control.value = query.get(name) ?? "";
        const chosen = Object.keys(IDS).filter((name) => query.get(name));
        chips.hidden = chosen.length === 0;
        await names.learn(chosen.filter((name) => name !== "session").map((name) => ({ user_id: query.get(name) })));
        fill(chips, chosen.map((name) => h("span.chip", `${t(`audit.${name}`)}: ${name === "session" ? query.get(name).slice(0, 8) : names.of(query.get(name))}`,
            h("button.icon-button", { type: "button", "aria-label": t("audit.clear", { name: t(`audit.${name}`) }), onclick: () => context.query({ [name]: null }) }, "×"))));
        await load(query);
    };
    await take(context.route.query);
    return { navigated: (query) => take(query).catch(context.fail) };
}

/** The parameters of the request. The days of the address are days of the user's time zone, and the last one is included. */
function parametersOf(query) {
    const parameters = new URLSearchParams({ limit: String(PAGE_SIZE) });
    for (const [name, parameter] of Object.entries(IDS)) if (query.get(name)) parameters.set(parameter, query.get(name));
    for (const name of ["action", "outcome"]) if (query.get(name)) parameters.set(name, query.get(name));
    for (const [name, days] of [["from", 0], ["to", 1]]) {
        const day = new Date(`${query.get(name)}T00:00:00`);
        if (Number.isNaN(day.getTime())) continue;
        day.setDate(day.getDate() + days);
        parameters.set(name, day.toISOString());
    }
    return parameters;
}

function rowOf(entry, names) {
    const link = (name, id, text) => h("a", { href: `#/audit?${name}=${id}` }, text);
    const actor = entry.user_id ? link("user", entry.user_id, names.of(entry.user_id)) : h("span.muted", entry.database_role);
    const concerns = [
        entry.subject_id && entry.subject_id !== entry.patient_id && link("user", entry.subject_id, names.of(entry.subject_id)),
        entry.patient_id && link("patient", entry.patient_id, names.of(entry.patient_id)),
        entry.session_id && link("session", entry.session_id, t("audit.session.n", { id: entry.session_id.slice(0, 8) })),
        entry.detail && h("span.muted", entry.detail),
    ].filter(Boolean);
    const repeats = entry.repeats && t("audit.repeats", { n: entry.repeats, at: moment(entry.until) });
    return h("tr", { "data-entry": entry.id },
        h("td.cell-date", { "data-label": t("audit.at") }, h("time", { dateTime: entry.at, title: entry.at }, dateTime(entry.at)), repeats && h("span.cell-time.muted", repeats)),
        h("td", { "data-label": t("audit.who") }, h("span.audit-who", actor, entry.address && h("span.audit-address.muted", entry.address))),
        h("td.cell-short", { "data-label": t("audit.action") }, actionWords(entry.action)),
        h("td", { "data-label": t("audit.concerns") }, concerns.flatMap((each, index) => (index ? [" · ", each] : [each]))),
        h("td", { "data-label": t("audit.outcome") }, h("span.chip", { "data-tone": entry.outcome === "refused" ? "failed" : "plain" }, t(`audit.${entry.outcome}`))));
}

/** The names of accounts by id. Accounts are read in one request if there are few, and by their ids otherwise. */
class Names {
    #context;
    #known = new Map();
    #readAll = false;

    constructor(context) {
        this.#context = context;
    }

    of(id) { return this.#known.get(id) ?? id.slice(0, 8); }

    async learn(entries) {
        const { signal } = this.#context;
        const ids = new Set(entries.flatMap((entry) => [entry.user_id, entry.patient_id, entry.subject_id]).filter(Boolean));
        const isMissing = (id) => !this.#known.has(id);
        if (!this.#readAll && [...ids].some(isMissing)) {
            this.#readAll = true;
            const { items } = await this.#context.get("/api/users?limit=200", { signal });
            for (const user of items) this.#known.set(user.id, user.full_name);
        }
        await Promise.all([...ids].filter(isMissing).map(async (id) => {
            const user = await this.#context.get(`/api/users/${encodeURIComponent(id)}`, { signal }).catch(() => null);
            // An account that was removed keeps its id.
            this.#known.set(id, user?.full_name ?? id.slice(0, 8));
        }));
    }
}
