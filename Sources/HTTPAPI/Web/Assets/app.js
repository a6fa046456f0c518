/** The start of the page: the form, and the question who is signed in. What a signed-in user sees is in desk.js. */

import * as api from "./api.js";
import { SignIn } from "./sign-in.js";
import { loadWords, t } from "./words.js";

/** How long the page waits before it asks a server again that does not answer, in milliseconds. */
const PAUSE = 3_000;

class Door {
    /** @type {import("./desk.js").Desk | null} */
    #desk = null;
    #signIn = new SignIn((email, password) => this.#enter(api.signIn(email, password)));

    async start() {
        api.whenSignedOut(() => this.#signIn.show(""));
        // A browser in which somebody is signed in loads the rest at once, and any other one after the sign-in.
        if (this.#signIn.expectsUser) import("./desk.js").catch(() => {});
        await loadWords();
        this.#signIn.begin();
        await this.#askWho();
    }

    async #askWho() {
        try {
            const user = await api.get("/api/auth/me");
            await this.#enter(user);
        } catch (error) {
            if (error.status === 401) return; // the page already shows the sign-in form
            if (error.isTemporary) {
                this.#signIn.wait(error.message);
                setTimeout(() => this.#askWho(), PAUSE);
            } else {
                this.#signIn.show(error.message);
            }
        }
    }

    async #enter(arrival) {
        const loading = import("./desk.js").catch(() => { throw new Error(t("error.module")); });
        const [user, { Desk }] = await Promise.all([arrival, loading]);
        this.#desk ??= new Desk(this.#signIn, () => this.#askWho());
        await this.#desk.enter(user);
    }
}

new Door().start();
