/** Keeps the store in step with the server, by the one stream of all sessions. */

import { ApiError, get } from "./api.js";

/** How often to ask while the stream is away. */
const POLL_WITHOUT_STREAM = 20_000;
/** Heartbeats are invisible to EventSource, so a stream that says nothing for this long is checked by a request. */
const STREAM_SILENCE = 30_000;
const HIDDEN_TOO_LONG = 60_000;

/**
 * What a person should know about the connection:
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
        // A session that finished while nobody listened is not in the snapshot that `ready` ends.
        on("ready", () => this.#catchUp());
        on("degraded", () => this.#onState("degraded"));
        on("recovered", () => this.#onState("live"));
        on("unavailable", () => this.#lost());
        on("expired", () => this.#recover());
        on("revoked", () => this.#recover());
        source.addEventListener("error", (event) => {
            if (source !== this.#source) return;
            if (event instanceof MessageEvent) { // our own `event: error`: a session has failed
                this.#heardAt = Date.now();
                this.#store.applyProgress(JSON.parse(event.data));
            } else if (source.readyState === EventSource.CLOSED) {
                this.#recover();
            } else {
                this.#lost(); // the browser reconnects by itself
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
     * The stream is over for good: its token has expired, or the browser has given up on it, which it does on any status
     * but 200 without telling which. A request finds out, and refreshes the token on the way: signed out, or server away.
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

    /** 1 s at first, doubled up to 30 s, each with jitter so that many pages do not come back as one. */
    #backOff() {
        const base = Math.min(30_000, 1_000 * 2 ** this.#failures++);
        return base * (0.5 + Math.random() / 2);
    }

    /** A session is new to us: its progress is here, who and when is not. Many at once cost one read. */
    #added(progress) {
        this.#store.applyProgress(progress);
        this.#later("added", 150, () => this.#catchUp());
    }

    // MARK: The poll

    #tick() {
        if (document.hidden || this.#polling) return;
        if (Date.now() - this.#polledAt >= this.#pollDelay()) this.#catchUp();
    }

    /** How long after the last poll the next is due. */
    #pollDelay() {
        if (!this.#isOpen) return POLL_WITHOUT_STREAM;
        const isSilent = this.#store.unfinished().length > 0 && Date.now() - this.#heardAt > STREAM_SILENCE;
        return isSilent ? STREAM_SILENCE : Infinity;
    }

    /** Reads what is shown again. */
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

    /** Streams of tabs that nobody sees would use up the six connections of those that somebody does. */
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

    /** Runs `work` after a delay unless stopped; a second call by the same name replaces the first. */
    #later(name, delay, work) {
        clearTimeout(this.#timers.get(name));
        this.#timers.set(name, setTimeout(() => {
            this.#timers.delete(name);
            if (this.#running) work();
        }, delay));
    }
}
