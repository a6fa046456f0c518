/** The page: the signed-in user, the current view, and the banner above it. */

import * as api from "./api.js";
import { DetailView } from "./detail.js";
import { UploadDialog } from "./dialog.js";
import { announce, fromTemplate, setText, showText } from "./dom.js";
import { ListView } from "./list.js";
import { LiveUpdates } from "./live.js";
import { SessionStore } from "./store.js";
import { Uploads } from "./upload.js";
import { capitalised, dateTime, statusWords } from "./words.js";

const product = document.body.dataset.product;
/** How long a disconnection lasts before the banner shows it, in milliseconds. Streams reconnect every hour. */
const BANNER_DELAY = 3_000;

export class App {
    user = null;
    store = new SessionStore();
    uploads = new Uploads(this.store);
    uploadDialog = new UploadDialog(this.uploads, () => this.#loadPatients(this.user).catch(() => {}));
    #live = new LiveUpdates(this.store, (state) => this.#connectionChanged(state));
    #patients = new Map();
    #askedFor = new Set();
    #view = null;
    #main = document.getElementById("main");
    #connection = "connecting";
    #bannerTimer = 0;

    constructor() {
        api.whenSignedOut((reason) => this.#signedOut(reason));
        window.addEventListener("hashchange", () => this.#route());
        window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
        document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#checkUser(); });
        document.getElementById("sign-out").addEventListener("click", () => this.#signOut());
        this.store.addEventListener("change", (event) => {
            this.#view?.update(event.detail);
            if (event.detail === null) this.#loadUnknownPatients();
        });
        this.store.addEventListener("transition", (event) => this.#announceTransition(event.detail));
    }

    /** True if the user may retry, delete and read notes. The role decides: therapists see only their patients. */
    get mayManage() {
        return this.user?.role === "therapist" || this.user?.role === "admin";
    }

    async start() {
        try {
            await this.#signedIn(await api.get("/api/auth/me"));
        } catch (error) {
            if (error.status === 401) return; // the page already shows the sign-in form
            if (error.isTemporary) {
                document.getElementById("boot")?.replaceChildren(error.message);
                setTimeout(() => this.start(), 3_000);
            } else {
                this.#showSignIn(error.message);
            }
        }
    }

    /** The name of a session: for the patient its date, or else that of its creation; for others the patient's name. */
    sessionName(session) {
        if (this.user.role === "patient") return dateTime(session.session_date ?? session.created_at);
        return this.#patients.get(session.patient_id)?.full_name ?? `Patient ${session.patient_id.slice(0, 8)}`;
    }

    /** Shows an error that belongs to no view. */
    complain(error) {
        this.#banner("error", error.message);
        this.#later(8_000, () => this.#connectionChanged(this.#connection));
    }

    // MARK: Signing in and out

    async #signedIn(user) {
        await this.#loadPatients(user);
        this.user = user;
        this.uploads.mayDelete = this.mayManage;
        document.getElementById("account").hidden = false;
        setText(document.getElementById("account-name"), user.full_name);
        setText(document.getElementById("account-role"), capitalised(user.role));
        this.#live.start();
        this.#route();
    }

    /** Reads the patients that the user may upload for. Their names also name the sessions. */
    async #loadPatients(user) {
        const userBefore = this.user;
        const hasPatients = user.role === "therapist" || user.role === "admin";
        const patients = hasPatients ? await this.#allPatients() : [];
        if (this.user !== userBefore) return; // the user signed out meanwhile
        this.#patients = new Map(patients.map((patient) => [patient.id, patient]));
        this.uploadDialog.setUser(user, patients);
    }

    /** Reads all pages of the list of patients. */
    async #allPatients() {
        const patients = [];
        let cursor = "";
        do {
            const page = await api.get(`/api/patients?limit=200${cursor}`);
            patients.push(...page.items);
            cursor = page.next_cursor === null ? null : `&cursor=${encodeURIComponent(page.next_cursor)}`;
        } while (cursor !== null);
        return patients;
    }

    /** Reads the patients again if a session has an unknown one, perhaps a new assignment; once for each patient. */
    #loadUnknownPatients() {
        if (!this.mayManage) return;
        const unknown = this.store.list().map((session) => session.patient_id)
            .filter((id) => !this.#patients.has(id) && !this.#askedFor.has(id));
        if (unknown.length === 0) return;
        for (const id of unknown) this.#askedFor.add(id);
        this.#loadPatients(this.user).then(() => this.#view?.update(null)).catch(() => {});
    }

    async #signOut() {
        if (this.uploads.isBusy && !confirm("An upload is in progress. Sign out and stop it?")) return;
        this.#live.stop(); // the sign-out would revoke its stream
        try {
            await api.signOut();
            this.#signedOut("You have signed out.");
        } catch (error) {
            this.#live.start();
            this.complain(error);
        }
    }

    /** Removes everything of the last user from the page. */
    #signedOut(reason) {
        const wasSignedIn = this.user !== null;
        this.user = null;
        this.#live.stop();
        this.uploads.cancelAll();
        this.uploadDialog.setUser(null, []);
        this.store.clear();
        this.#patients.clear();
        this.#askedFor.clear();
        document.getElementById("account").hidden = true;
        clearTimeout(this.#bannerTimer);
        this.#banner("", "");
        announce("");
        this.#showSignIn(wasSignedIn ? reason : "");
    }

    #showSignIn(reason) {
        const { root, part } = fromTemplate("sign-in-view");
        showText(part.reason, reason);
        part.form.addEventListener("submit", async (event) => {
            event.preventDefault();
            const missing = [part.email, part.password].find((input) => !input.value.trim());
            setText(part.error, missing ? "Enter your email and your password." : "");
            if (missing) {
                missing.focus();
                return;
            }
            part.submit.disabled = true;
            setText(part.submit, "Signing in …");
            try {
                await this.#signedIn(await api.signIn(part.email.value.trim(), part.password.value));
            } catch (error) {
                setText(part.error, error.message);
                part.password.focus();
                part.password.select();
            }
            part.submit.disabled = false;
            setText(part.submit, "Sign in");
        });
        this.#show({ root, heading: part.email, title: "Sign in", update() {}, connectionChanged() {} });
    }

    /** All tabs share the cookies: another user may have signed in in another tab. */
    async #checkUser() {
        if (!this.user || this.uploads.isBusy) return;
        const present = await api.get("/api/auth/me").catch(() => null);
        if (present && this.user && present.id !== this.user.id) location.reload();
    }

    // MARK: Views

    #route() {
        if (!this.user) return;
        const match = /^#\/sessions\/([0-9a-f-]{36})$/i.exec(location.hash);
        const id = match?.[1].toLowerCase() ?? null;
        this.#show(id ? new DetailView(this, id) : new ListView(this));
    }

    #show(view) {
        const isFirst = this.#view === null;
        this.#view?.close?.();
        this.#view = view;
        this.#main.replaceChildren(view.root);
        document.title = `${view.title} – ${product}`;
        view.connectionChanged(this.#connection);
        window.scrollTo(0, 0);
        // A page load moves the focus to the top. On the first view, the browser has done so.
        if (!isFirst || view.heading instanceof HTMLInputElement) view.heading.focus({ preventScroll: true });
    }

    #announceTransition({ session }) {
        const { status, error } = session.progress;
        const words = statusWords(status);
        announce(`${this.sessionName(session)}: ${words.label}. ${status === "failed" ? error ?? "" : ""}`);
    }

    // MARK: The banner

    #connectionChanged(state) {
        const isRepeated = state === this.#connection;
        this.#connection = state;
        this.#view?.connectionChanged(state);
        if (isRepeated && state === "reconnecting") return; // a further try failed: the banner's delay continues
        if (state === "reconnecting") {
            const words = navigator.onLine
                ? "Connection lost. Reconnecting …"
                : "You are offline. The page updates when you are back.";
            this.#later(BANNER_DELAY, () => this.#banner("warning", words));
        } else if (state === "degraded") {
            const words = "The server cannot read its database right now. Progress may be out of date.";
            this.#later(0, () => this.#banner("warning", words));
        } else {
            this.#later(0, () => this.#banner("", ""));
        }
    }

    #later(delay, work) {
        clearTimeout(this.#bannerTimer);
        this.#bannerTimer = setTimeout(work, delay);
    }

    #banner(tone, words) {
        const banner = document.getElementById("banner");
        banner.dataset.tone = tone;
        showText(banner, words);
    }
}

new App().start();
