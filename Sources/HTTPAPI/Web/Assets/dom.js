/** Small helpers for the DOM. Text enters it as text only, never as markup. */

import { t } from "./words.js";

/**
 * Makes an element: `h("p.muted", { hidden: true, onclick }, "text", child)`.
 * A name with a dash is an attribute, `on…` a listener, and any other name a property. Children that are null or false
 * are left out.
 */
export function h(selector, ...rest) {
    const [tag, ...classes] = selector.split(".");
    const made = document.createElement(tag || "div");
    if (classes.length) made.className = classes.join(" ");
    const hasProperties = rest.length && isProperties(rest[0]);
    for (const [name, value] of Object.entries(hasProperties ? rest.shift() : {})) set(made, name, value);
    fill(made, ...rest);
    return made;
}

const isProperties = (value) =>
    value !== null && typeof value === "object" && !(value instanceof Node) && !Array.isArray(value);

function set(target, name, value) {
    if (value === undefined || value === null) return;
    if (name.startsWith("on")) target.addEventListener(name.slice(2), value);
    else if (name.includes("-") || ["role", "for", "list", "colspan", "form"].includes(name)) target.setAttribute(name, value);
    else target[name] = value;
}

/** Replaces the children of an element. */
export function fill(target, ...children) {
    target.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
    return target;
}

const SVG = "http://www.w3.org/2000/svg";

/** An icon of the page's sprite, which screen readers pass over. */
export function icon(name) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", ICONS[name] ?? "");
    svg.append(path);
    return svg;
}

const ICONS = {
    sessions: "M4 6h16M4 12h16M4 18h10",
    patients: "M9 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM2 21c0-4 3-6 7-6s7 2 7 6M16 4a4 4 0 0 1 0 7M18 15c3 .6 4 3 4 6",
    uploads: "M12 16V4M7 9l5-5 5 5M4 16v4h16v-4",
    people: "M12 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM4 21c0-4 3-6 8-6s8 2 8 6",
    assignments: "M8 7h8M8 17h8M5 4v6M5 14v6M19 4v6M19 14v6",
    board: "M4 20V10M10 20V4M16 20v-7M22 20H2",
    audit: "M12 3 4 6v6c0 5 3.5 8 8 9 4.5-1 8-4 8-9V6l-8-3ZM9 12l2 2 4-4",
    account: "M12 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM4 21c0-4 3-6 8-6s8 2 8 6",
    back: "M15 5l-7 7 7 7",
    play: "M7 4v16l13-8L7 4Z",
    pause: "M8 5v14M16 5v14",
    close: "M6 6l12 12M18 6 6 18",
    more: "M5 12h.01M12 12h.01M19 12h.01",
    search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM20 20l-4-4",
    check: "M5 13l4 4L19 7",
    cross: "M12 8v5M12 16.5v.01M12 3 2 20h20L12 3Z",
    edit: "M4 20h4L19 9l-4-4L4 16v4Z",
    download: "M12 4v12M7 11l5 5 5-5M4 20h16",
};

/** A button. `kind` has words of `primary`, `quiet`, `danger`, `small`. */
export function button(label, { kind = "", ...properties } = {}) {
    return h(["button", "button", ...kind.split(" ").filter(Boolean)].join("."), { type: "button", ...properties }, label);
}

/** An email address, which breaks before its `@` if the line is too short. */
export function address(text) {
    const at = text.lastIndexOf("@");
    return h("span.address", text.slice(0, at), h("wbr"), text.slice(at));
}

let fields = 0;

/** A label with its input, or with a select if there are `options`, pairs of value and text. */
export function field({ label, name, type = "text", value = "", hint = "", options = null, rows = 0, ...properties }) {
    const id = `field-${++fields}`;
    const common = { id, name, ...properties, ...(hint ? { "aria-describedby": `${id}-hint` } : {}) };
    let input;
    if (options) {
        input = h("select", common, options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
    } else if (rows) {
        input = h("textarea", { ...common, rows, value });
    } else {
        input = h("input", { ...common, type, value });
    }
    return h("div.field", h("label", { for: id }, label), input, hint && h("p.hint", { id: `${id}-hint` }, hint));
}

/** Sets the text of an element if it differs. Equal text would disturb screen readers and selections. */
export function setText(target, text) {
    if (target.textContent !== text) target.textContent = text;
}

/** Shows an element with this text, or hides it if the text is empty. */
export function showText(target, text) {
    setText(target, text ?? "");
    target.hidden = !text;
}

/** Announces a text to screen readers. The latest announcement wins. */
export function announce(text) {
    setText(document.getElementById("announcer"), text);
}

/**
 * Opens a modal dialog with a form. It resolves with true after `onSubmit` has succeeded, and with false if the user left it.
 * An error of `onSubmit` stays in the dialog.
 */
export function dialog({ title, body, submit, cancel = t("cancel"), tone = "primary", wide = false, onSubmit = async () => {} }) {
    return new Promise((resolve) => {
        const error = h("p.field-error", { role: "alert" });
        const send = h(`button.button.${tone}`, { type: "submit" }, submit);
        const form = h("form", { noValidate: true }, h("h2", { id: "dialog-title" }, title), body, error, h("p.dialog-actions",
            cancel && button(cancel, { kind: "quiet", onclick: () => box.close() }), send));
        const box = h(wide ? "dialog.dialog.wide" : "dialog.dialog", { "aria-labelledby": "dialog-title" }, form);
        let isDone = false;
        form.addEventListener("submit", async (event) => {
            event.preventDefault();
            send.disabled = true;
            setText(error, "");
            try {
                await onSubmit(new FormData(form), form);
                isDone = true;
                box.close();
            } catch (problem) {
                setText(error, withReference(problem));
            }
            send.disabled = false;
        });
        box.addEventListener("close", () => {
            box.remove();
            resolve(isDone);
        });
        document.body.append(box);
        box.showModal();
    });
}

/** Asks before something that cannot be undone. `list` names what goes. */
export function confirmation({ title, text = "", list = [], action, tone = "danger", onSubmit }) {
    const body = [text && h("p", text), list.length > 0 && h("ul.bullets", list.map((item) => h("li", item)))];
    return dialog({ title, body, submit: action, tone, onSubmit });
}

/** Closes all dialogs, as at a sign-out. */
export function closeDialogs() {
    for (const box of document.querySelectorAll("dialog[open]")) box.close();
}

/** The words of an error, with the reference under which the server's log has it. */
export function withReference(error) {
    const isOurs = error.status >= 500 && error.requestId;
    return isOurs ? `${error.message} ${t("reference", { id: error.requestId })}` : error.message;
}

/**
 * Makes the children of a list match its items, and keeps the elements that are there: focus and moving bars stay.
 * `known` maps keys to `{ root, … }`, which `make(item)` returns and `renew(row, item)` brings up to date.
 */
export function keep(parent, known, items, { key = (item) => item.id, make, renew }) {
    const wanted = new Set(items.map(key));
    for (const [id, row] of known) {
        if (wanted.has(id)) continue;
        row.root.remove();
        known.delete(id);
    }
    items.forEach((item, index) => {
        let row = known.get(key(item));
        if (!row) {
            row = make(item);
            known.set(key(item), row);
        }
        renew(row, item);
        if (parent.children[index] !== row.root) parent.insertBefore(row.root, parent.children[index] ?? null);
    });
}
