/** The patients of the user, and the sessions of one of them in order. */

import { address, button, fill, h, icon, setText } from "./dom.js";
import { chip, renewChip, timeOf } from "./session-words.js";
import { dateTime, t, timecode } from "./words.js";

export function mount(root, context) {
    return context.route.id ? mountOne(root, context) : mountAll(root, context);
}

async function mountAll(root, context) {
    context.title(t("nav.patients"));
    const list = h("ul.people");
    const empty = h("div.empty", { hidden: true });
    const more = button(t("more"), { hidden: true });
    const search = h("input", { type: "search", "aria-label": t("search.patients"), placeholder: t("search.patients"), maxLength: 200, value: context.route.query.get("q") ?? "" });
    fill(root, h("div.view-head", h("h1", { tabIndex: -1 }, t("nav.patients"))),
        h("div.filters", { role: "search" }, h("label.search", icon("search"), search)), list, empty, h("p.pager", more));
    let asked = 0;
    let timer = 0;
    const load = async (query, cursor = null) => {
        const mine = ++asked;
        const parameters = new URLSearchParams({ limit: "50" });
        if (query) parameters.set("q", query);
        if (cursor) parameters.set("cursor", cursor);
        const page = await context.get(`/api/patients?${parameters}`, { signal: context.signal });
        if (mine !== asked) return;
        const rows = page.items.map((patient) => h("li", h("a.person", { href: `#/patients/${patient.id}` },
            h("strong", patient.full_name), h("span.muted", address(patient.email)))));
        if (cursor) list.append(...rows);
        else fill(list, rows);
        empty.hidden = list.childElementCount > 0;
        fill(empty, h("h2", t(query ? "empty.found" : "empty.patients")), h("p.muted", t(query ? "empty.found.hint" : "upload.nobody")));
        more.hidden = !page.next_cursor;
        more.onclick = () => load(query, page.next_cursor).catch(context.fail);
    };
    search.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(() => context.query({ q: search.value.trim() }, { replace: true }), 250);
    });
    await load(search.value);
    return {
        navigated: (query) => {
            if (document.activeElement !== search) search.value = query.get("q") ?? "";
            return load(query.get("q") ?? "").catch(context.fail);
        },
        close: () => clearTimeout(timer),
    };
}

async function mountOne(root, context) {
    const { id } = context.route;
    context.title(t("patient.one"));
    const heading = h("h1", { tabIndex: -1 }, t("patient.one"));
    const list = h("ol.history-line");
    const count = h("p.muted");
    const empty = h("p.empty", { hidden: true }, t("empty.sessions"));
    const upload = button(t("upload.open"), { kind: "primary", onclick: () => context.uploads.ask({ patientId: id }) });
    fill(root, h("p.crumb", h("a", { href: "#/patients" }, `← ${t("nav.patients")}`)),
        h("div.view-head", h("div", heading, count), upload), list, empty);
    const rows = new Map();
    const load = async () => {
        const sessions = await context.getAll(`/api/sessions?patient_id=${id}&sort=session_date`, { signal: context.signal });
        for (const session of sessions) context.store.put(session, { quiet: true });
        const named = sessions.find((session) => session.patient_name)?.patient_name;
        if (named) setText(heading, named);
        setText(count, t("patient.sessions", { n: sessions.length }));
        rows.clear();
        fill(list, sessions.map((session, index) => {
            const row = { chip: chip() };
            rows.set(session.id, row);
            renewChip(row.chip, session, context.user);
            return h("li", { "data-session": session.id }, h("a.person", { href: `#/sessions/${session.id}` },
                h("strong", t("patient.session.n", { n: sessions.length - index })), h("span", dateTime(timeOf(session))),
                h("span.muted", [session.duration_seconds && timecode(session.duration_seconds), session.filename].filter(Boolean).join(" · ")), row.chip.root));
        }));
        empty.hidden = sessions.length > 0;
    };
    const onResync = () => load().catch(() => {});
    context.store.addEventListener("resync", onResync);
    await load();
    if (heading.textContent === t("patient.one")) {
        const patients = context.user.role === "admin" ? [await context.get(`/api/users/${id}`)] : await context.getAll("/api/patients");
        const patient = patients.find((each) => each.id === id);
        if (patient) setText(heading, patient.full_name);
    }
    return {
        update: (changed) => {
            const session = changed && context.store.get(changed);
            if (!session) return;
            const row = rows.get(changed);
            if (row) renewChip(row.chip, session, context.user);
            else if (session.patient_id === id) onResync();
        },
        close: () => context.store.removeEventListener("resync", onResync),
    };
}
