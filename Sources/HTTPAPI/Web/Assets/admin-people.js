/** The accounts: their list, one person with rights and sign-ins, and new accounts. For administrators. */

import { assignmentsOf } from "./assignments.js";
import { address, button, confirmation, dialog, field, fill, h, icon } from "./dom.js";
import { deviceOf } from "./view-account.js";
import { ago, date, dateTime, t } from "./words.js";

const ROLES = ["therapist", "patient", "admin", "pipeline"];

export async function mount(root, context) {
    await context.loadWords("admin-words");
    const show = (query) => (query.get("person") ? showPerson(root, context, query.get("person")) : showAll(root, context));
    let shown = context.route.query.get("person");
    let view = await show(context.route.query);
    return {
        navigated: async (query) => {
            const person = query.get("person");
            if (person === shown && view.navigated) return view.navigated(query);
            view.close?.();
            shown = person;
            fill(root);
            view = await show(query).catch((error) => (context.fail(error), {}));
            root.querySelector("h1")?.focus({ preventScroll: true });
        },
        close: () => view.close?.(),
    };
}

// MARK: The list

async function showAll(root, context) {
    context.title(t("nav.people"));
    const { query } = context.route;
    const rows = h("tbody");
    const table = h("table.table", h("thead", h("tr", ["name", "email", "role", "state", "since"].map((name) => h("th", { scope: "col" }, t(`people.${name}`))))), rows);
    const empty = h("div.empty", { hidden: true }, h("h2", t("empty.found")), h("p.muted", t("people.empty")));
    const more = button(t("more"), { hidden: true });
    const search = h("input", { type: "search", "aria-label": t("search.patients"), placeholder: t("search.patients"), maxLength: 200 });
    const choice = (name, label, options) => h("select", { "aria-label": label, onchange: (event) => context.query({ [name]: event.target.value }) },
        h("option", { value: "" }, label), options.map(([value, text]) => h("option", { value }, text)));
    const role = choice("role", t("people.role.all"), ROLES.map((name) => [name, t(`role.${name}`)]));
    const state = choice("active", t("people.state.all"), [["true", t("people.active")], ["false", t("people.inactive")]]);
    fill(root, h("div.view-head", h("h1", { tabIndex: -1 }, t("nav.people")),
        button(t("people.add"), { kind: "primary", onclick: () => add(context) })),
    h("div.filters", { role: "search" }, h("label.search", icon("search"), search), role, state), table, empty, h("p.pager", more));

    let timer = 0;
    search.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(() => context.query({ q: search.value.trim() }, { replace: true }), 250);
    });
    let asked = 0;
    const load = async (wanted, cursor = null) => {
        const mine = ++asked;
        const parameters = new URLSearchParams({ limit: "50" });
        for (const [name, parameter] of [["q", "q"], ["role", "role"], ["active", "is_active"]]) {
            if (wanted.get(name)) parameters.set(parameter, wanted.get(name));
        }
        if (cursor) parameters.set("cursor", cursor);
        const page = await context.get(`/api/users?${parameters}`, { signal: context.signal });
        if (mine !== asked) return; // the user has typed on
        const made = page.items.map(rowOf);
        if (cursor) {
            rows.append(...made);
            made[0]?.querySelector("a").focus();
        } else {
            fill(rows, made);
        }
        table.hidden = rows.childElementCount === 0;
        empty.hidden = !table.hidden;
        more.hidden = !page.next_cursor;
        more.onclick = () => load(wanted, page.next_cursor).catch(context.fail);
    };
    const take = (wanted) => {
        if (document.activeElement !== search) search.value = wanted.get("q") ?? "";
        role.value = wanted.get("role") ?? "";
        state.value = wanted.get("active") ?? "";
        return load(wanted);
    };
    await take(query);
    return { navigated: (wanted) => take(wanted).catch(context.fail), close: () => clearTimeout(timer) };
}

function rowOf(user) {
    return h("tr", { "data-user": user.id },
        h("td", { "data-label": t("people.name") }, h("a.row-link", { href: `#/people?person=${user.id}` }, user.full_name)),
        h("td", { "data-label": t("people.email") }, address(user.email)), h("td.cell-short", { "data-label": t("people.role") }, t(`role.${user.role}`)),
        h("td", { "data-label": t("people.state") }, stateOf(user)), h("td.cell-short", { "data-label": t("people.since") }, date(user.created_at)));
}

function stateOf(user) {
    return h("span.chip", { "data-tone": user.is_active ? "done" : "plain" }, t(user.is_active ? "people.active" : "people.inactive"));
}

/** Asks for a new account, and then shows it. */
async function add(context) {
    let made = null;
    const done = await dialog({
        title: t("people.add"), submit: t("people.add.submit"),
        body: [
            field({ label: t("people.name"), name: "full_name", required: true, maxLength: 200, autocomplete: "off" }),
            field({ label: t("people.email"), name: "email", type: "email", required: true, autocomplete: "off" }),
            field({ label: t("people.role"), name: "role", options: ROLES.map((name) => [name, t(`role.${name}`)]) }),
            ...passwordField(t("people.password.first"), t("people.password.first.hint")),
        ],
        onSubmit: async (form) => {
            const [full_name, email] = ["full_name", "email"].map((name) => form.get(name).trim());
            const password = form.get("password");
            if (!full_name || !email) throw new Error(t("people.add.missing"));
            const body = { full_name, email, role: form.get("role"), ...(password && { password }) };
            made = await context.request("POST", "/api/users", { body }).catch(inWords);
        },
    });
    if (done) context.go(`#/people?person=${made.id}`);
}

/** A field for a password that the administrator passes on. It is shown, because nobody else has to type it. */
function passwordField(label, hint) {
    const wrapper = field({ label, name: "password", hint, autocomplete: "off", spellcheck: false, maxLength: 256 });
    const input = wrapper.querySelector("input");
    const generate = button(t("people.password.make"), { kind: "small", onclick: () => { input.value = freshPassword(); } });
    return [wrapper, h("p.card-actions", generate)];
}

/** Sixteen characters that cannot be mistaken for each other: 79 bits. */
function freshPassword() {
    const letters = "abcdefghjkmnpqrstuvwxyz23456789"; // 31: a byte above 247 would prefer the first ones
    let text = "";
    while (text.length < 16) {
        const [byte] = crypto.getRandomValues(new Uint8Array(1));
        if (byte < 248) text += letters[byte % 31];
    }
    return text.replace(/(.{4})(?=.)/g, "$1-");
}

/** The server's refusals that an administrator can do something about, in the user's language. */
function inWords(error) {
    if (error.status === 409) error.message = t(error.detail?.includes("address") ? "people.taken" : "people.own");
    else if (error.errors?.length) error.message = [error.message, ...error.errors.map(({ field: name }) => t(`people.bad.${name}`))].join(" ");
    throw error;
}

// MARK: One person

async function showPerson(root, context, id) {
    context.title(t("people.one"));
    const path = `/api/users/${encodeURIComponent(id)}`;
    const isOwn = id === context.user.id;
    const body = h("div.cards");
    const heading = h("h1", { tabIndex: -1 });
    fill(root, h("p.crumb", h("a", { href: "#/people" }, `← ${t("nav.people")}`)), h("div.view-head", heading), body);
    const renew = async (user) => {
        fill(heading, user.full_name);
        fill(body, detailsCard(context, path, user, isOwn, renew), accessCard(context, path, user, isOwn, renew),
            await signInsCard(context, path, isOwn), user.role === "therapist" && h("section.card", h("h2", t("assignments.of")), await assignmentsOf(context, id)));
    };
    await renew(await context.get(path, { signal: context.signal }));
    return {};
}

function detailsCard(context, path, user, isOwn, renew) {
    const error = h("p.field-error", { role: "alert" });
    const form = h("form", { noValidate: true },
        h("dl.facts", h("dt", t("people.email")), h("dd", address(user.email)), h("dt", t("people.since")), h("dd", dateTime(user.created_at))),
        field({ label: t("people.name"), name: "full_name", value: user.full_name, required: true, maxLength: 200 }),
        field({ label: t("people.role"), name: "role", value: user.role, disabled: isOwn, options: ROLES.map((name) => [name, t(`role.${name}`)]),
            hint: t(isOwn ? "people.own" : "people.role.hint") }),
        error, h("p.card-actions.stack", h("button.button.primary", { type: "submit" }, t("save"))));
    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        const change = {};
        const name = form.elements.full_name.value.trim();
        if (name !== user.full_name) change.full_name = name;
        if (form.elements.role.value !== user.role) change.role = form.elements.role.value;
        fill(error);
        if (Object.keys(change).length === 0) return;
        try {
            await renew(await context.request("PATCH", path, { body: change }).catch(inWords));
            context.toast(t("saved"));
        } catch (problem) {
            fill(error, problem.message);
        }
    });
    return h("section.card", h("h2", t("details")), form);
}

/** Whether the person can sign in, and with what. */
function accessCard(context, path, user, isOwn, renew) {
    const change = (body) => context.request("PATCH", path, { body }).catch(inWords);
    const deactivate = () => confirmation({
        title: t("people.deactivate.title", { name: user.full_name }), text: t("people.deactivate.text"), action: t("people.deactivate"),
        onSubmit: async () => renew(await change({ is_active: false })),
    });
    const activate = () => change({ is_active: true }).then(renew).catch(context.fail);
    const setPassword = async () => {
        const done = await dialog({
            title: t("people.password.title", { name: user.full_name }), submit: t("people.password.set"),
            body: [h("p", t("people.password.text")), ...passwordField(t("people.password.new"), t("people.password.hint"))],
            onSubmit: async (form) => {
                if (!form.get("password")) throw new Error(t("people.password.missing"));
                await renew(await change({ password: form.get("password") }));
            },
        });
        if (done) context.toast(t("people.password.done"));
    };
    return h("section.card", h("h2", t("people.access")), h("p", stateOf(user)),
        isOwn ? h("p.hint", t("people.own")) : h("p.card-actions.stack",
            user.is_active ? button(t("people.deactivate"), { kind: "danger", onclick: deactivate }) : button(t("people.activate"), { onclick: activate }),
            button(t("people.password.set"), { onclick: setPassword })));
}

async function signInsCard(context, path, isOwn) {
    const list = h("ul.sign-ins");
    const end = button(t("people.sign-ins.end"), { kind: "danger", hidden: true, onclick: () => confirmation({
        title: t("people.sign-ins.end"), text: t("people.sign-ins.end.text"), action: t("people.sign-ins.end"),
        onSubmit: async () => {
            await context.request("DELETE", `${path}/sign-ins`);
            if (!isOwn) await load();
        },
    }) });
    const load = async () => {
        const { items } = await context.get(`${path}/sign-ins`, { signal: context.signal });
        end.hidden = items.length === 0;
        fill(list, items.length === 0 ? h("li", h("p.muted", t("people.sign-ins.none"))) : items.map((item) => h("li", { "data-sign-in": item.id },
            h("div", h("strong", deviceOf(item.user_agent)), item.is_current && h("span.chip", { "data-tone": "done" }, t("sign-ins.this")),
                h("p.muted", [t("sign-ins.used", { at: ago(item.last_used_at) }), t("sign-ins.since", { at: dateTime(item.created_at) }), item.address].filter(Boolean).join(" · "))))));
    };
    await load();
    return h("section.card", h("h2", t("people.sign-ins")), list, end);
}
