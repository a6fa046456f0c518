/** Small helpers for the DOM. Text enters it as text only, never as markup. */

/**
 * Clones the only element in a `<template>` of the page.
 * @param {string} id the template's id
 * @returns {{root: HTMLElement, part: Record<string, HTMLElement>}} the clone, and its elements by `data-part`
 */
export function fromTemplate(id) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById(id));
    const root = /** @type {HTMLElement} */ (template.content.firstElementChild.cloneNode(true));
    const part = {};
    for (const element of root.querySelectorAll("[data-part]")) part[element.dataset.part] = element;
    return { root, part };
}

/** Makes an element with a class and children. Strings become text. */
export function element(tag, className = "", ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
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

/** A random UUID. Over plain HTTP, `crypto.randomUUID` is missing. */
export function randomUUID() {
    if (crypto.randomUUID) return crypto.randomUUID();
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40; // RFC 9562, 5.4: version 4 …
    bytes[8] = (bytes[8] & 0x3f) | 0x80; // … and its variant
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
