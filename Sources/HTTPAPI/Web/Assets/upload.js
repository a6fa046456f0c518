/**
 * The uploads of this browser. One tab sends at a time, one file after the other; every tab shows all of them. `/client.js`
 * sends the bytes by the tus protocol, and continues where the server stopped.
 */

import { ApiError, authorised, bridge, request } from "./api.js";
import { announce } from "./dom.js";
import { Leadership } from "./tabs.js";
import { JobKeeper } from "./upload-jobs.js";
import { t } from "./words.js";

/** How long an upload waits after a failure of the network or the server, in milliseconds. */
const PAUSE = 15_000;
/** The tab that sends tells the others of every step. After this silence, a tab that somebody looks at takes its place. */
const SILENCE = 45_000;

/**
 * The jobs by the ids of their sessions. Each is `{id, patientId, patientName, date, language, name, size, file, location, phase,
 * sent, rate, error}`; `phase` is `queued`, `sending`, `checking`, `waiting` (for the network), `failed` or `done`.
 * It dispatches `change`.
 */
export class Uploads extends EventTarget {
    #app;
    #keeper = new JobKeeper();
    /** @type {Map<string, object>} */
    #jobs = new Map();
    #current = null;
    #abort = null;
    #user = null;
    #timer = 0;
    #ticker = 0;
    #heardAt = 0;
    #leadership = new Leadership("therapybridge.uploads", () => this.#takeOver(), () => this.#abort?.abort());

    /** @param {{ store, tabs, mayManage: boolean }} app */
    constructor(app) {
        super();
        this.#app = app;
        app.tabs.on("jobs", () => this.#adopt());
        app.tabs.on("job", ({ job }) => this.#mirror(job));
        app.tabs.on("cancel-job", ({ id }) => { if (this.#jobs.has(id)) this.#drop(id); });
        app.tabs.on("again-job", ({ id }) => this.#requeue(id));
        window.addEventListener("online", () => this.#next());
        window.addEventListener("beforeunload", (event) => { if (this.jobs.some((job) => job.isLost)) event.preventDefault(); });
    }

    get jobs() { return [...this.#jobs.values()]; }
    /** The jobs that are on their way, or wait for it. */
    get active() { return this.jobs.filter((job) => !["done", "failed"].includes(job.phase)); }
    get isBusy() { return this.active.length > 0; }

    // MARK: The sign-in

    begin(user) {
        this.#user = user;
        this.#leadership.run();
        this.#heardAt = performance.now();
        this.#ticker = setInterval(() => this.#watch(), 5_000);
        this.#adopt();
        import("./tray.js").then(({ showTray }) => showTray(this, this.#app)).catch(() => {});
    }

    /** At the end of the sign-in. The recordings leave the browser unless the same user is likely to come back. */
    end({ forgets }) {
        this.#user = null;
        this.#leadership.resign();
        clearInterval(this.#ticker);
        clearTimeout(this.#timer);
        this.#abort?.abort();
        this.#current = null;
        this.#jobs.clear();
        if (forgets) this.#keeper.clear();
        this.#changed();
    }

    // MARK: What the user does

    /** Opens the dialog. `files` come from a drop; `patientId`, `date` and `replaces`, a failed session, are guesses. */
    async ask(guess = {}) {
        if (!this.#user || this.#user.role === "pipeline") return;
        const { askForRecordings } = await import("./upload-dialog.js");
        const orders = await askForRecordings(this.#user, guess);
        // A failed session without a recording becomes the new one, if this account began it.
        const id = orders.length === 1 && guess.replaces?.bytes === null ? guess.replaces.id : undefined;
        for (const order of orders) this.add({ ...order, id, isReplacement: id !== undefined });
    }

    /** Queues a file. The page chooses the id of its session. */
    add({ id = newID(), patientId, patientName = "", date = null, language = null, file, isReplacement = false }) {
        const job = {
            id, userId: this.#user?.id, patientId, patientName, date, language, name: file.name, size: file.size, file, location: null,
            addedAt: Date.now(), phase: "queued", sent: 0, rate: 0, error: null, isLost: false,
            isReplacement,
        };
        this.#jobs.set(id, job);
        this.#changed(job);
        this.#keeper.put(job).then((isKept) => {
            job.isLost = !isKept; // only this tab has the file
            this.#app.tabs.post("jobs");
            this.#next();
        });
        this.#next();
        return id;
    }

    /** Sends a failed upload again. The server keeps what has arrived. */
    again(id) {
        this.#requeue(id);
        this.#app.tabs.post("again-job", { id });
    }

    /** Stops an upload, or removes one that is over from the tray. */
    cancel(id) {
        this.#app.tabs.post("cancel-job", { id });
        this.#drop(id, { ends: true });
    }

    #requeue(id) {
        const job = this.#jobs.get(id);
        if (!job || job.phase === "done") return;
        this.#set(job, { phase: "queued", error: null });
        this.#next();
    }

    #drop(id, { ends = false } = {}) {
        const job = this.#jobs.get(id);
        this.#jobs.delete(id);
        if (this.#current === id) this.#abort?.abort();
        this.#keeper.delete(id);
        this.#changed();
        if (ends && job && job.phase !== "done") this.#endAtServer(job);
    }

    /** Who may delete sessions leaves none behind. The session of a patient stays as a failed one. */
    async #endAtServer(job) {
        try {
            if (this.#app.mayManage) await request("DELETE", `/api/sessions/${job.id}`);
            else if (job.location) await authorised(() => bridge.upload(job.file, { patientId: job.patientId, location: job.location, sessionId: job.id, signal: AbortSignal.abort() }).cancel());
        } catch {
            // It had not begun, or the server ends it in a day.
        }
    }

    // MARK: The tab that sends

    /** The jobs that this browser has kept, and those of the other tabs. */
    async #adopt() {
        const user = this.#user;
        const kept = user ? await this.#keeper.all(user.id) : [];
        if (this.#user !== user) return;
        for (const job of kept) {
            if (!this.#jobs.has(job.id)) this.#jobs.set(job.id, { ...job, phase: "queued", sent: 0, rate: 0, error: null, isLost: false });
            else this.#jobs.get(job.id).file ??= job.file;
        }
        this.#changed();
        this.#next();
    }

    /** The tab that sent before is gone: what it was sending begins again. */
    #takeOver() {
        for (const job of this.active) job.phase = "queued";
        this.#adopt();
    }

    /** The tab that sends may be frozen. */
    #watch() {
        const isQuiet = performance.now() - this.#heardAt > SILENCE;
        if (this.#leadership.isLeader || document.hidden || !this.active.some((job) => job.file)) this.#heardAt = performance.now();
        else if (isQuiet) this.#leadership.run({ steal: true });
    }

    #mirror(job) {
        if (!this.#user || this.#leadership.isLeader) return;
        this.#heardAt = performance.now();
        const known = this.#jobs.get(job.id);
        this.#jobs.set(job.id, { ...known, ...job });
        this.#changed();
    }

    #next() {
        clearTimeout(this.#timer);
        if (!this.#user || this.#current !== null) return;
        const mine = (job) => job.file && (this.#leadership.isLeader || job.isLost);
        const job = this.jobs.find((each) => each.phase === "queued" && mine(each))
            ?? this.jobs.find((each) => each.phase === "waiting" && mine(each));
        if (job) this.#send(job);
    }

    async #send(job) {
        const abort = new AbortController();
        this.#current = job.id;
        this.#abort = abort;
        const startedAt = performance.now();
        let startedFrom = null;
        const { patientId, date, language, id, name, location } = job;
        const upload = bridge.upload(job.file, {
            patientId, sessionDate: date ?? undefined, language: language ?? undefined, sessionId: id, filename: name,
            location: location ?? undefined, signal: abort.signal,
            onProgress: ({ sent, total }) => {
                startedFrom ??= sent; // A transfer that is sent again continues where the last one ended.
                const rate = (sent - startedFrom) / Math.max(1, performance.now() - startedAt) * 1000;
                this.#set(job, { phase: sent < total ? "sending" : "checking", sent, rate, error: null });
            },
        });
        this.#set(job, { phase: "sending" });
        upload.created.then(() => {
            job.location = upload.location;
            if (!job.isLost && this.#jobs.has(id)) this.#keeper.put(job);
        }).catch(() => {});
        try {
            const session = await authorised(() => upload.stored);
            this.#app.store.put(session);
            this.#keeper.delete(id);
            this.#set(job, { phase: "done", sent: job.size, file: null });
            announce(t("upload.done", { name }));
        } catch (error) {
            if (!abort.signal.aborted) this.#failed(job, error);
        }
        if (this.#current === id) this.#current = null;
        if (!abort.signal.aborted || this.#jobs.has(id) === false) this.#next();
    }

    #failed(job, error) {
        if (error.status === 401) return;
        if (error instanceof ApiError && error.isTemporary) {
            this.#set(job, { phase: "waiting", error: error.message });
            this.#timer = setTimeout(() => this.#requeue(job.id), error.retryAfter ?? PAUSE);
            return;
        }
        if (error.status === 409 && job.isReplacement) {
            this.#drop(job.id);
            this.add({ ...job, id: undefined, isReplacement: false });
            return;
        }
        // An upload that the server no longer has begins anew.
        if ([404, 410].includes(error.status)) job.location = null;
        const words = error instanceof ApiError ? error.message : t("upload.unreadable");
        this.#set(job, { phase: "failed", error: words });
        announce(t("upload.failed", { name: job.name, reason: words }));
    }

    #set(job, changes) {
        Object.assign(job, changes);
        if (this.#jobs.has(job.id)) this.#changed(job);
    }

    #changed(job = null) {
        this.dispatchEvent(new CustomEvent("change", { detail: job?.id ?? null }));
        if (!job) return;
        const { id, patientId, patientName, date, name, size, phase, sent, rate, error, addedAt, userId } = job;
        this.#app.tabs.post("job", { job: { id, patientId, patientName, date, name, size, phase, sent, rate, error, addedAt, userId } });
    }
}

/** A random UUID. Over plain HTTP, `crypto.randomUUID` is missing. */
function newID() {
    if (crypto.randomUUID) return crypto.randomUUID();
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40; // RFC 9562, 5.4: version 4 …
    bytes[8] = (bytes[8] & 0x3f) | 0x80; // … and its variant
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
