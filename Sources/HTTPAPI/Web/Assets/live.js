/** Keeps the store up to date with the server, by the stream of all sessions. */

import { ApiError, get } from "./api.js";

/** The interval of the poll while there is no stream, in milliseconds. */
const POLL_WITHOUT_STREAM = 20_000;
/** EventSource hides heartbeats. After this silence, in milliseconds, a request checks whether the stream still works. */
const STREAM_SILENCE = 30_000;
const HIDDEN_TOO_LONG = 60_000;

/**
 * The state of the connection, for the user:
 * `connecting`, `live`, `reconnecting`, `degraded` (the server cannot read its database).
 * @typedef {"connecting" | "live" | "reconnecting" | "degraded"} ConnectionState
 */
export class LiveUpdates {
    #store;
    #onState;
    #running = false;
    /** @type {EventSource | null} */
    #source = null;
    #isOpen = false;
    #failures = 0;
    #heardAt = 0;
    #polledAt = 0;
    #polling = false;
    #timers = new Map();
    #ticker = 0;
    #hiddenAt = 0;

    /**
     * @param {import("./store.js").SessionStore} store
     * @param {(state: ConnectionState) => void} onState
     */
    constructor(store, onState) {
        this.#store = store;
        this.#onState = onState;
        document.addEventListener("visibilitychange", () => this.#visibilityChanged());
        window.addEventListener("online", () => this.#running && this.#later("open", 0, () => this.#open()));
        window.addEventListener("offline", () => this.#running && this.#onState("reconnecting"));
    }

    start() {
        if (this.#running) return;
        this.#running = true;
        this.#failures = 0;
        this.#polledAt = Date.now();
        this.#onState("connecting");
        this.#ticker = setInterval(() => this.#tick(), 1_000);
        this.#open();
    }

    stop() {
        this.#running = false;
        clearInterval(this.#ticker);
        for (const timer of this.#timers.values()) clearTimeout(timer);
        this.#timers.clear();
        this.#close();
    }

    // MARK: The stream

    #open() {
        this.#close();
        const source = new EventSource("/api/sessions/status/stream");
        this.#source = source;
        const on = (name, handle) => source.addEventListener(name, (event) => {
            if (source !== this.#source) return;
            this.#heardAt = Date.now();
            handle(event.data ? JSON.parse(event.data) : {});
        });
        source.addEventListener("open", () => source === this.#source && this.#opened());
        on("progress", (progress) => this.#store.applyProgress(progress));
        on("complete", (progress) => this.#store.applyProgress(progress));
        on("session_added", (progress) => this.#added(progress));
        on("session_removed", ({ session_id: id }) => this.#store.remove(id));
        // The first events leave out sessions that finished while there was no stream.
        on("ready", () => this.#catchUp());
        on("degraded", () => this.#onState("degraded"));
        on("recovered", () => this.#onState("live"));
        on("unavailable", () => this.#lost());
        on("expired", () => this.#recover());
        on("revoked", () => this.#recover());
        source.addEventListener("error", (event) => {
            if (source !== this.#source) return;
            if (event instanceof MessageEvent) { // the server's `event: error`: a session has failed
                this.#heardAt = Date.now();
                this.#store.applyProgress(JSON.parse(event.data));
            } else if (source.readyState === EventSource.CLOSED) {
                this.#recover();
            } else {
                this.#lost(); // the browser reconnects on its own
            }
        });
    }

    #close() {
        this.#source?.close();
        this.#source = null;
        this.#isOpen = false;
    }

    #opened() {
        this.#isOpen = true;
        this.#failures = 0;
        this.#heardAt = Date.now();
        this.#onState("live");
    }

    #lost() {
        this.#isOpen = false;
        this.#onState("reconnecting");
    }

    /**
     * The stream has ended for good: its token has expired, or the browser has given it up, which it does for any status
     * but 200 without showing the status. A request finds the reason and refreshes the token.
     */
    async #recover() {
        this.#close();
        this.#lost();
        try {
            await get("/api/auth/me");
            this.#later("open", this.#backOff(), () => this.#open());
        } catch (error) {
            if (!this.#running || !(error instanceof ApiError) || !error.isTemporary) return;
            this.#later("open", this.#backOff(), () => this.#recover());
        }
    }

    /** A delay that begins at 1 s and doubles up to 30 s. Jitter keeps many pages from coming back together. */
    #backOff() {
        const base = Math.min(30_000, 1_000 * 2 ** this.#failures++);
        return base * (0.5 + Math.random() / 2);
    }

    /** A new session: the event has its progress, but not its patient and date. Many new sessions cost one read. */
    #added(progress) {
        this.#store.applyProgress(progress);
        this.#later("added", 150, () => this.#catchUp());
    }

    // MARK: The poll

    #tick() {
        if (document.hidden || this.#polling) return;
        if (Date.now() - this.#polledAt >= this.#pollDelay()) this.#catchUp();
    }

    /** The time from the last poll to the next, in milliseconds. */
    #pollDelay() {
        if (!this.#isOpen) return POLL_WITHOUT_STREAM;
        const isSilent = this.#store.unfinished().length > 0 && Date.now() - this.#heardAt > STREAM_SILENCE;
        return isSilent ? STREAM_SILENCE : Infinity;
    }

    /** Reads everything that the page shows again. */
    async #catchUp() {
        if (!this.#running || this.#polling) return;
        this.#polling = true;
        try {
            await this.#store.resync();
        } catch (error) {
            if (this.#running && error instanceof ApiError && error.isTemporary && !this.#isOpen) this.#lost();
        } finally {
            this.#polling = false;
            this.#polledAt = Date.now();
        }
    }

    // MARK: Tabs in the background

    /** Hidden tabs close their streams: a browser has six connections to a server, and visible tabs need them. */
    #visibilityChanged() {
        if (document.hidden) {
            this.#hiddenAt = Date.now();
            if (this.#running) this.#later("sleep", HIDDEN_TOO_LONG, () => this.#close());
            return;
        }
        clearTimeout(this.#timers.get("sleep"));
        if (!this.#running || Date.now() - this.#hiddenAt < HIDDEN_TOO_LONG) return;
        this.#open();
        this.#catchUp();
    }

    /** Runs `work` after a delay, unless stopped. A second call with the same name replaces the first. */
    #later(name, delay, work) {
        clearTimeout(this.#timers.get(name));
        this.#timers.set(name, setTimeout(() => {
            this.#timers.delete(name);
            if (this.#running) work();
        }, delay));
    }
}
