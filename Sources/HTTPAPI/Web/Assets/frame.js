/** What surrounds each view: the rail, the menu of the account, the state of the connection, and passing messages. */

import { address, announce, confirmation, fill, h, icon, setText, showText, withReference } from "./dom.js";
import { wantsNotifications } from "./settings.js";
import { number, statusWords, t } from "./words.js";

/** How long a disconnection lasts before the banner shows it, in milliseconds. Streams reconnect every hour. */
const BANNER_DELAY = 2_000;
/** The administrator's views that this server carries. */
const adminViews = document.body.dataset.views.split(" ").filter(Boolean);

export class Frame {
    #app;
    #root = document.getElementById("frame");
    #links = document.getElementById("rail");
    #foot = document.getElementById("rail-foot");
    #banner = document.getElementById("banner");
    #toasts = document.getElementById("toasts");
    #live = h("p.live", { id: "live" }, h("span.dot", { "aria-hidden": "true" }), h("span.live-text"));
    #state = "connecting";
    #bannerTimer = 0;
    #ticker = 0;
    #menu = null;
    #more = null;

    /** @param {import("./desk.js").Desk} app */
    constructor(app) {
        this.#app = app;
        document.querySelector(".skip").addEventListener("click", (event) => {
            event.preventDefault(); // the part behind the # is the address of a view
            document.querySelector("main h1, .sign-in h1")?.focus();
        });
        document.addEventListener("click", (event) => {
            if (this.#menu && !this.#foot.contains(event.target)) this.#closeMenu();
            if (this.#more && !this.#links.contains(event.target)) this.#showMore(false);
        });
        document.addEventListener("keydown", (event) => {
            if (event.key !== "Escape") return;
            if (this.#menu) this.#closeMenu({ focuses: true });
            if (this.#more?.getAttribute("aria-expanded") === "true") {
                this.#showMore(false);
                this.#more.focus();
            }
        });
    }

    /** Shows the frame. The styles of the views come with it. */
    async show() {
        const { user } = this.#app;
        await loadStyles();
        this.#links.setAttribute("aria-label", t("nav.label"));
        const item = ([name, href]) => h(adminViews.includes(name) ? "li.rail-admin" : "li", h("a.rail-link", { href, "data-name": name },
            icon(name), h("span", t(`nav.${name}`)), name === "uploads" && h("span.badge", { id: "uploads-badge", hidden: true })));
        const [own, more] = [linksOf(user), user.role === "admin" ? adminViews.map((name) => [name, `#/${name}`]) : []];
        this.#more = h("button.rail-link", { type: "button", "aria-expanded": "false", onclick: () => this.#showMore(!this.#links.classList.contains("open")) },
            icon("more"), h("span", t("nav.more")));
        fill(this.#links, h("ul", own.map(item), more.length > 0 && h("li.rail-more", this.#more), more.map(item)));
        const account = h("button.account-button", {
            id: "account-button", type: "button", "aria-expanded": "false", "aria-haspopup": "true",
            onclick: () => (this.#menu ? this.#closeMenu() : this.#openMenu()),
        }, h("span.avatar", { "aria-hidden": "true" }, initials(user.full_name)),
        h("span.account-text", h("span.account-name", user.full_name), h("span.account-role", t(`role.${user.role}`))));
        fill(this.#foot, this.#live, account);
        this.#root.hidden = false;
        document.body.dataset.role = user.role;
        this.#ticker = setInterval(() => this.#showLive(), 1_000);
        this.connectionChanged(this.#state);
    }

    hide() {
        this.#closeMenu();
        clearInterval(this.#ticker);
        clearTimeout(this.#bannerTimer);
        this.#root.hidden = true;
        fill(this.#links);
        fill(this.#foot);
        fill(this.#toasts);
        showText(this.#banner, "");
        announce("");
    }

    /** Marks the view of the address in the rail. */
    mark(name) {
        for (const link of this.#links.querySelectorAll("a")) {
            const isHere = link.dataset.name === name;
            if (isHere) link.setAttribute("aria-current", "page");
            else link.removeAttribute("aria-current");
        }
        this.#more.dataset.holds = adminViews.includes(name);
        this.#showMore(false);
        this.#closeMenu();
    }

    /** On phones, the bar has no room for the administrator's views: a button shows them above it. */
    #showMore(isOpen) {
        this.#links.classList.toggle("open", isOpen);
        this.#more.setAttribute("aria-expanded", String(isOpen));
    }

    // MARK: The menu of the account

    #openMenu() {
        const { user } = this.#app;
        this.#menu = h("div.menu", { id: "account-menu" },
            h("p.menu-head", h("strong", user.full_name), h("span.muted", address(user.email))),
            h("a.menu-item", { href: "#/account" }, t("account.title")),
            h("a.menu-item", { href: "/docs", target: "_blank", rel: "noopener" }, t("account.api")),
            h("button.menu-item", { type: "button", id: "sign-out", onclick: () => this.#signOut() }, t("sign-out")));
        this.#foot.append(this.#menu);
        this.#accountButton?.setAttribute("aria-expanded", "true");
        this.#menu.querySelector("a").focus();
    }

    get #accountButton() { return this.#foot.querySelector("#account-button"); }

    #closeMenu({ focuses = false } = {}) {
        this.#menu?.remove();
        this.#menu = null;
        this.#accountButton?.setAttribute("aria-expanded", "false");
        if (focuses) this.#accountButton?.focus();
    }

    async #signOut() {
        this.#closeMenu();
        if (this.#app.uploads.isBusy) {
            const question = { title: t("sign-out.uploads.title"), text: t("sign-out.uploads"), action: t("sign-out") };
            if (!await confirmation(question)) return;
        }
        await this.#app.signOut();
    }

    // MARK: The state of the connection

    connectionChanged(state) {
        const isRepeated = state === this.#state;
        this.#state = state;
        this.#showLive();
        if (isRepeated) return; // a further try failed: the banner's delay continues
        clearTimeout(this.#bannerTimer);
        const words = { offline: navigator.onLine ? "banner.offline" : "banner.no-network", degraded: "banner.degraded" }[state];
        // A short gap is no news. A long silence was one already.
        const isSudden = performance.now() - this.#app.live.heardAt < 5 * BANNER_DELAY;
        const wait = state === "offline" && isSudden ? BANNER_DELAY : 0;
        this.#bannerTimer = setTimeout(() => {
            if (!this.#app.user) return;
            // While the stream catches up, what is shown may still be old: the words stay.
            if (words || state === "live") showText(this.#banner, words ? t(words) : "");
        }, wait);
    }

    /** "Live · 3 s ago": how long ago the server's last word came. */
    #showLive() {
        const { live } = this.#app;
        const silence = Math.max(0, Math.floor((performance.now() - live.heardAt) / 1_000));
        this.#live.dataset.state = this.#state;
        const words = this.#state === "live" ? t("live.live", { n: silence }) : t(`live.${this.#state}`);
        setText(this.#live.lastElementChild, words);
    }

    // MARK: Messages

    /** Shows a passing message. */
    toast(text, tone = "plain") {
        const box = h("div.toast", { "data-tone": tone }, h("p", text),
            h("button.icon-button", { type: "button", "aria-label": t("close"), onclick: () => box.remove() }, icon("close")));
        this.#toasts.append(box);
        while (this.#toasts.childElementCount > 3) this.#toasts.firstElementChild.remove();
        setTimeout(() => box.remove(), tone === "error" ? 12_000 : 5_000);
    }

    fail(error) {
        if (error?.name === "AbortError" || error?.status === 401) return;
        this.toast(withReference(error), "error");
    }

    /** Says to those who do not look at the row what has become of a session. */
    transition({ session, before }) {
        const { status } = session.progress;
        announce(`${session.patient_name ?? ""} ${statusWords(status).label}`);
        const isOver = status === "processed" || status === "failed";
        const wasOver = before.status === "processed" || before.status === "failed";
        if (!isOver || wasOver || !document.hidden || !this.#app.live.isLeader || !wantsNotifications()) return;
        // Without a name: the system may show it on a locked screen.
        const note = new Notification(t(`notify.${status}`), { tag: session.id, body: document.body.dataset.product });
        note.onclick = () => {
            window.focus();
            location.hash = `#/sessions/${session.id}`;
            note.close();
        };
    }

    /** The number at the rail's link to the uploads. */
    showUploads(count) {
        const badge = document.getElementById("uploads-badge");
        if (badge) showText(badge, count ? number(count) : "");
    }
}

/** Loads the styles of the views once, beside those of the form. */
function loadStyles() {
    const form = document.querySelector("link[rel=stylesheet]");
    if (document.getElementById("views-css")) return Promise.resolve();
    return new Promise((resolve) => {
        const link = h("link", { id: "views-css", rel: "stylesheet", href: form.href.replace("app.css", "views.css") });
        link.onload = link.onerror = resolve;
        document.head.append(link);
    });
}

/** The links of a role: name and address. Those of administrators come after them. */
function linksOf(user) {
    const links = [["sessions", "#/"]];
    if (user.role === "therapist" || user.role === "admin") links.push(["patients", "#/patients"]);
    if (user.role !== "pipeline") links.push(["uploads", "#/uploads"]);
    return links;
}

function initials(name) {
    const words = name.split(/\s+/).filter((word) => /^\p{L}/u.test(word) && !word.endsWith("."));
    return [words[0], words.length > 1 ? words.at(-1) : ""].map((word) => word?.[0] ?? "").join("").toUpperCase();
}
