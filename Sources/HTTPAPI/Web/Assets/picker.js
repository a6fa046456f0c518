/** A field that finds a person: it offers the people whose name or address has the typed text. */

import { announce, fill, h } from "./dom.js";
import { t } from "./words.js";

const OFFERED = 8;
let count = 0;

/**
 * Makes the field, a combobox by the ARIA Authoring Practices.
 * @param context the context of the view
 * @param {string} options.path the list to search, such as `/api/patients`
 * @param {(person: {id, full_name, email}) => void} options.onPick gets the chosen person
 * @param {boolean} [options.clears] true to empty the field after a choice
 */
export function picker(context, { label, path, onPick, value = "", clears = false }) {
    const id = `picker-${++count}`;
    const options = h("ul.picker-options", { id: `${id}-options`, role: "listbox", "aria-label": label, hidden: true });
    const input = h("input", {
        id, type: "text", role: "combobox", autocomplete: "off", spellcheck: false, maxLength: 200, value,
        "aria-expanded": "false", "aria-controls": `${id}-options`, "aria-autocomplete": "list", placeholder: t("search.patients"),
    });
    let found = [];
    let active = -1;
    let asked = 0;
    let timer = 0;

    const mark = (index) => {
        active = index;
        Array.from(options.children).forEach((option, at) => option.setAttribute("aria-selected", String(at === index)));
        if (index >= 0) input.setAttribute("aria-activedescendant", `${id}-${index}`);
        else input.removeAttribute("aria-activedescendant");
    };
    const close = () => {
        asked += 1;
        clearTimeout(timer);
        options.hidden = true;
        input.setAttribute("aria-expanded", "false");
        mark(-1);
    };
    const pick = (person) => {
        input.value = clears ? "" : person.full_name;
        close();
        onPick(person);
    };
    const show = (people) => {
        const marked = found[active]?.id;
        found = people;
        fill(options, people.map((person, index) => h("li.picker-option", {
            id: `${id}-${index}`, role: "option", "aria-selected": "false",
            // Before the blur of the field, which closes the options.
            onmousedown: (event) => { event.preventDefault(); pick(person); },
        }, h("strong", person.full_name), h("span.muted", person.email))));
        options.hidden = people.length === 0;
        input.setAttribute("aria-expanded", String(people.length > 0));
        mark(people.findIndex((person) => person.id === marked));
    };
    const offer = async () => {
        const mine = ++asked;
        const text = input.value.trim();
        const parameters = new URLSearchParams({ limit: String(OFFERED) });
        if (text) parameters.set("q", text);
        const { items } = await context.get(`${path}?${parameters}`, { signal: context.signal });
        if (mine !== asked) return; // the user has typed on
        show(items);
        announce(items.length ? t("picker.found", { n: items.length }) : t("empty.found"));
    };
    input.addEventListener("input", () => {
        // Whom the text no longer describes, a quick Enter must not choose while the search is under way.
        asked += 1;
        const text = input.value.trim().toLowerCase();
        if (!options.hidden) show(found.filter((person) => `${person.full_name}\n${person.email}`.toLowerCase().includes(text)));
        clearTimeout(timer);
        timer = setTimeout(() => offer().catch(context.fail), 200);
    });
    input.addEventListener("focus", () => { if (options.hidden) offer().catch(context.fail); });
    input.addEventListener("blur", close);
    input.addEventListener("keydown", (event) => {
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (step && !options.hidden) {
            event.preventDefault();
            mark((active + step + found.length) % found.length);
        } else if (event.key === "Enter" && active >= 0) {
            event.preventDefault();
            pick(found[active]);
        } else if (event.key === "Escape" && !options.hidden) {
            event.stopPropagation();
            close();
        }
    });
    return h("div.field.picker", h("label", { for: id }, label), input, options);
}
