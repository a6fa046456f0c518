/** The page of a signed-in user: the view that the address names, and what happens at the end of the sign-in. */

import * as api from "./api.js";
import { closeDialogs, fill, h } from "./dom.js";
import { Frame } from "./frame.js";
import { LiveUpdates } from "./live.js";
import { Places, parse, withQuery } from "./places.js";
import { SessionStore } from "./store.js";
import { Tabs } from "./tabs.js";
import { loadWords, t } from "./words.js";

const product = document.body.dataset.product;
/** The admin's views that this server carries. */
const adminViews = document.body.dataset.views.split(" ").filter(Boolean);

/** The module of each view, by the first part of the address. */
const VIEWS = {
    sessions: "./view-sessions.js", patients: "./view-patients.js", uploads: "./view-uploads.js", account: "./view-account.js",
};

function moduleOf({ name, id }) {
    if (adminViews.includes(name)) return `./admin-${name}.js`;
    if (name === "sessions" && id) return "./view-session.js";
    return VIEWS[name] ?? VIEWS.sessions;
}

export class Desk {
    user = null;
    store = new SessionStore();
    tabs = new Tabs();
    live = new LiveUpdates(this.store, this.tabs, (state) => this.#frame.connectionChanged(state));
    uploads = null;
    /** True if the list of sessions was the view before: Back leads to the same place in it. */
    cameFromList = false;
    #frame = new Frame(this);
    #signIn;
    #places = new Places();
    /** The view on the screen: `{ route, view, context, abort, title }`. */
    #present = null;
    #main = document.getElementById("main");

    /**
     * @param {import("./sign-in.js").SignIn} signIn the form
     * @param {() => void} start asks again who is signed in
     */
    constructor(signIn, start) {
        this.#signIn = signIn;
        api.whenSignedOut((reason) => this.#signedOut(reason));
        window.addEventListener("hashchange", () => this.#route());
        window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
        document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#checkUser(); });
        this.tabs.on("signed-out", ({ reason }) => { if (this.user) this.#signedOut(reason, { isTold: true }); });
        this.tabs.on("signed-in", ({ id }) => {
            if (!this.user) start();
            else if (this.user.id !== id) location.reload(); // the cookies are those of another user now
        });
        this.store.addEventListener("change", (event) => {
            this.#present?.view.update?.(event.detail);
            this.#showTitle();
        });
        this.store.addEventListener("transition", (event) => this.#frame.transition(event.detail));
    }

    /** True if the user may retry, delete and read notes. The role decides: therapists see only their patients. */
    get mayManage() {
        return this.user?.role === "therapist" || this.user?.role === "admin";
    }

    /** Shows the page to a user. */
    async enter(user) {
        if (this.user) return;
        this.user = user;
        const [{ Uploads }] = await Promise.all([import("./upload.js"), this.#frame.show()]);
        if (this.user !== user) return; // signed out meanwhile
        this.uploads ??= new Uploads(this);
        this.#signIn.hide();
        this.uploads.begin(user);
        this.live.start();
        this.tabs.post("signed-in", { id: user.id });
        this.#places.enter(user);
        await this.#route();
    }

    /** The number of uploads on their way, at the rail. */
    showUploads(count) { this.#frame.showUploads(count); }

    /** Signs out by the user's own wish. */
    async signOut() {
        this.live.stop(); // the sign-out would revoke its stream
        try {
            await api.signOut();
            this.#signedOut("signed-out");
        } catch (error) {
            this.live.start();
            this.#frame.fail(error);
        }
    }

    /** Removes everything of the last user from the page. `reason` is `ended`, `deactivated` or `signed-out`. */
    #signedOut(reason, { isTold = false } = {}) {
        const wasSignedIn = this.user !== null;
        // After a mere expiry, the next sign-in of the same user comes back to the same place.
        if (wasSignedIn) this.#places.leave(this.user, { returns: reason === "ended" });
        this.user = null;
        this.live.stop();
        this.uploads?.end({ forgets: reason !== "ended" });
        this.store.clear();
        closeDialogs();
        this.#close();
        fill(this.#main);
        this.#frame.hide();
        document.title = product;
        this.#signIn.show(wasSignedIn ? t(`signed-out.${reason}`) : "", { forgets: wasSignedIn && reason !== "ended" });
        if (wasSignedIn && !isTold) this.tabs.post("signed-out", { reason });
    }

    /** All tabs share the cookies: another user may have signed in in another tab. */
    async #checkUser() {
        if (!this.user) return;
        const present = await api.get("/api/auth/me").catch(() => null);
        if (present && this.user && present.id !== this.user.id) location.reload();
    }

    // MARK: Views

    async #route() {
        if (!this.user) return;
        const route = parse(location.hash);
        const isBack = this.#places.arrive();
        const shown = this.#present;
        if (shown?.view.navigated && shown.route.name === route.name && shown.route.id === route.id) {
            shown.context.route = route;
            await shown.view.navigated(route.query);
            this.#places.restore(isBack);
            return;
        }
        const mounting = { route, view: {}, context: null, abort: new AbortController(), title: "" };
        let module;
        try {
            module = await import(moduleOf(route));
        } catch {
            module = { mount: mountBroken };
        }
        if (!this.user || parse(location.hash).key !== route.key) return;
        const isFirst = this.#present === null;
        this.cameFromList = !isBack && shown?.route.name === "sessions" && !shown.route.id;
        this.#close();
        this.#present = mounting;
        const root = h("section.view");
        fill(this.#main, root);
        this.#frame.mark(route.name);
        mounting.context = this.#context(mounting);
        try {
            mounting.view = (await module.mount(root, mounting.context)) ?? {};
        } catch (error) {
            if (mounting.abort.signal.aborted) return;
            mountError(root, error);
        }
        if (this.#present !== mounting) {
            mounting.view.close?.();
            return;
        }
        this.#places.restore(isBack);
        if (!isFirst) root.querySelector("h1")?.focus({ preventScroll: true });
    }

    #close() {
        this.#present?.abort.abort();
        this.#present?.view.close?.();
        this.#present = null;
    }

    /** What a view gets. */
    #context(mounting) {
        return {
            app: this, user: this.user, route: mounting.route, signal: mounting.abort.signal,
            store: this.store, live: this.live, uploads: this.uploads,
            get: api.get, getAll: api.getAll, request: api.request, fetchRaw: api.fetchRaw, loadWords,
            query: (changes, { replace = false } = {}) => {
                const address = withQuery(parse(location.hash), changes);
                if (replace) location.replace(address);
                else location.hash = address;
            },
            go: (address) => { location.hash = address; },
            title: (text) => {
                mounting.title = text;
                if (this.#present === mounting) this.#showTitle();
            },
            toast: (text, tone) => this.#frame.toast(text, tone),
            fail: (error) => this.#frame.fail(error),
        };
    }

    /** The title begins with the number of sessions in progress. It has no patient's name: browsers keep titles. */
    #showTitle() {
        if (!this.user || !this.#present) return;
        const count = this.store.unfinished().length;
        document.title = `${count ? `(${count}) ` : ""}${this.#present.title || t("nav.sessions")} – ${product}`;
    }
}

function mountError(root, error) {
    fill(root, h("h1", { tabIndex: -1 }, t("error.title")), h("p.notice.error", { role: "alert" }, error.message ?? String(error)),
        h("p", h("a", { href: "#/" }, t("back-to-sessions"))));
}

/** A module that does not load: the server was upgraded, or is not reachable. */
function mountBroken(root) {
    fill(root, h("h1", { tabIndex: -1 }, t("error.title")), h("p.notice.error", { role: "alert" }, t("error.module")),
        h("p", h("button.button.primary", { type: "button", onclick: () => location.reload() }, t("reload"))));
}
