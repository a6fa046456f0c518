/** The sign-in form, which is in the HTML of the page. */

import { setText, showText, withReference } from "./dom.js";
import { t } from "./words.js";

const stage = document.documentElement.dataset;

export class SignIn {
    #section = document.getElementById("sign-in");
    #main = document.getElementById("main");
    #form = document.getElementById("sign-in-form");
    #email = document.getElementById("sign-in-email");
    #password = document.getElementById("sign-in-password");
    #error = document.getElementById("sign-in-error");
    #submit = document.getElementById("sign-in-submit");
    #reason = document.getElementById("sign-in-reason");
    #boot = document.getElementById("boot");
    #enter;

    /** @param {(email: string, password: string) => Promise<void>} enter */
    constructor(enter) {
        this.#enter = enter;
        this.#form.addEventListener("submit", (event) => {
            event.preventDefault();
            this.#send();
        });
    }

    /** The words are there: takes over from start.js, and sends what the user has sent before. */
    begin() {
        if (stage.ready) return;
        stage.ready = "yes";
        this.#checkAddress();
        if (stage.submitted) this.#send();
    }

    /** Cookies and the check of origins depend on the address: signing in under another one cannot work. */
    #checkAddress() {
        const { origin } = document.body.dataset;
        const isLocal = ({ hostname }) => ["localhost", "127.0.0.1", "[::1]"].includes(hostname);
        if (!origin || isLocal(new URL(origin)) && isLocal(location)) return;
        // The cookies of any other address are Secure: over plain http, browsers do not keep them.
        if (origin === location.origin) this.#warn(location.protocol === "http:" ? [t("address.plain")] : []);
        else this.#warn([t("address.wrong", { here: location.origin }), " ", Object.assign(document.createElement("a"), { href: origin, textContent: origin })]);
    }

    #warn(words) {
        this.#reason.className = "notice warning";
        this.#reason.replaceChildren(...words);
        this.#reason.hidden = words.length === 0;
    }

    /** True if somebody was signed in when this browser showed the page last. */
    get expectsUser() { return stage.stage === "known"; }

    /** Nothing is known yet: the server does not answer. */
    wait(words) {
        setText(this.#boot, words);
        if (stage.stage !== "known") showText(this.#error, words);
    }

    /** Shows the form. It keeps the address of the user unless it `forgets`: the next one may be somebody else. */
    show(reason, { forgets = false } = {}) {
        remember(false);
        stage.stage = "form";
        this.#section.hidden = false;
        this.#main.hidden = true;
        if (forgets) this.#email.value = "";
        // At the start of the page, somebody may have begun to type.
        if (forgets || reason) this.#password.value = "";
        if (reason) {
            this.#reason.className = "notice";
            showText(this.#reason, reason);
        }
        if (reason || document.activeElement === document.body) this.#email.focus();
    }

    hide() {
        remember(true);
        stage.stage = "app";
        this.#section.hidden = true;
        this.#main.hidden = false;
        this.#password.value = "";
        showText(this.#reason, "");
        setText(this.#error, "");
    }

    /** The button can be pressed again. Its words are those of the heading. */
    #offer() {
        this.#submit.disabled = false;
        setText(this.#submit, this.#section.querySelector("h1").textContent);
    }

    async #send() {
        const missing = [this.#email, this.#password].find((input) => !input.value.trim());
        setText(this.#error, missing ? t("sign-in.missing") : "");
        if (missing) {
            this.#offer();
            missing.focus();
            return;
        }
        this.#submit.disabled = true;
        setText(this.#submit, this.#submit.dataset.busy);
        try {
            await this.#enter(this.#email.value.trim(), this.#password.value);
        } catch (error) {
            setText(this.#error, error.status === 401 ? t("sign-in.wrong") : withReference(error));
            this.#password.focus();
            this.#password.select();
        }
        this.#offer();
    }
}

function remember(isKnown) {
    try {
        if (isKnown) localStorage.setItem("therapybridge.known", "1");
        else localStorage.removeItem("therapybridge.known");
    } catch {
        // Without storage, the form shows for a moment at each load.
    }
}
