/** The user's own account: password, sign-ins, the language of the page, and notifications. */

import { address, button, confirmation, field, fill, h, setText } from "./dom.js";
import { LANGUAGES, chooseLanguage, chosenLanguage, setNotifications, wantsNotifications } from "./settings.js";
import { ago, dateTime, t } from "./words.js";

export async function mount(root, context) {
    const { user } = context;
    context.title(t("account.title"));
    const list = h("ul.sign-ins");
    fill(root, h("div.view-head", h("h1", { tabIndex: -1 }, t("account.title"))), h("div.cards",
        h("section.card", h("h2", user.full_name), h("dl.facts", h("dt", t("email")), h("dd", address(user.email)), h("dt", t("column.role")), h("dd", t(`role.${user.role}`)))),
        pageCard(), passwordCard(context), h("section.card", h("h2", t("sign-ins")), h("p.muted", t("sign-ins.hint")), list)));
    const load = async () => {
        const { items } = await context.get("/api/auth/sign-ins", { signal: context.signal });
        fill(list, items.map((item) => h("li", { "data-sign-in": item.id },
            h("div", h("strong", deviceOf(item.user_agent)), item.is_current && h("span.chip", { "data-tone": "done" }, t("sign-ins.this")),
                h("p.muted", [t("sign-ins.used", { at: ago(item.last_used_at) }), t("sign-ins.since", { at: dateTime(item.created_at) }), item.address].filter(Boolean).join(" · "))),
            !item.is_current && button(t("sign-ins.end"), {
                kind: "small", "aria-label": `${t("sign-ins.end")}: ${deviceOf(item.user_agent)}, ${dateTime(item.created_at)}`, onclick: () => end(item),
            }))));
    };
    const end = (item) => confirmation({
        title: t("sign-ins.end"), text: t("sign-ins.end.text", { device: deviceOf(item.user_agent) }), action: t("sign-ins.end"),
        onSubmit: async () => {
            await context.request("DELETE", `/api/auth/sign-ins/${item.id}`);
            await load();
        },
    });
    await load();
    return {};
}

/** The language of the page, and notifications. */
function pageCard() {
    const language = field({
        label: t("account.language"), name: "language", options: [["", t("account.language.browser")], ...LANGUAGES], value: chosenLanguage(),
        onchange: (event) => chooseLanguage(event.target.value),
    });
    const note = h("p.muted", { role: "status" });
    const box = h("input", { type: "checkbox", checked: wantsNotifications(), disabled: !globalThis.Notification, onchange: async () => {
        const isSet = await setNotifications(box.checked);
        if (!isSet) box.checked = false;
        setText(note, isSet ? "" : t("account.notify.refused"));
    } });
    return h("section.card", h("h2", t("account.page")), language, h("label.check", box, t("account.notify")), note);
}

function passwordCard(context) {
    const error = h("p.field-error", { role: "alert" });
    const done = h("p.muted", { role: "status" });
    const input = (name, label, autocomplete, hint) => field({ label: t(label), name, type: "password", autocomplete, hint, required: true });
    const form = h("form", { noValidate: true },
        h("input.visually-hidden", { type: "email", autocomplete: "username", value: context.user.email, readOnly: true, tabIndex: -1, "aria-hidden": "true" }),
        input("current", "password.current", "current-password", ""), input("next", "password.new", "new-password", t("password.hint")),
        input("repeat", "password.repeat", "new-password", ""), error, h("button.button.primary", { type: "submit" }, t("password.change")), done);
    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        const [current, next, repeat] = ["current", "next", "repeat"].map((name) => form.elements[name].value);
        const complaint = !current || !next ? t("password.missing") : next !== repeat ? t("password.differs") : "";
        setText(error, complaint);
        setText(done, "");
        if (complaint) return;
        try {
            await context.request("POST", "/api/auth/password", { body: { current_password: current, new_password: next } });
            form.reset();
            form.querySelector("[type=email]").value = context.user.email;
            setText(done, t("password.changed"));
        } catch (problem) {
            setText(error, problem.status === 403 ? t("password.wrong") : problem.message);
        }
    });
    return h("section.card", h("h2", t("password.title")), form);
}

/** "Firefox on Linux", as far as the browser's name of itself tells. */
export function deviceOf(agent) {
    if (!agent) return t("device.unknown");
    const browser = [[/Edg\//, "Edge"], [/OPR\//, "Opera"], [/Firefox\//, "Firefox"], [/Chrom(e|ium)\//, "Chrome"], [/Safari\//, "Safari"]]
        .find(([pattern]) => pattern.test(agent))?.[1];
    const system = [[/Android/, "Android"], [/iPhone|iPad/, "iOS"], [/Windows/, "Windows"], [/Mac OS X/, "macOS"], [/Linux/, "Linux"]]
        .find(([pattern]) => pattern.test(agent))?.[1];
    return browser ? [browser, system].filter(Boolean).join(" · ") : agent.slice(0, 60);
}
