/** Keeps the store up to date with the server, by the stream of all sessions. `/client.js` keeps the stream alive. */

import { ApiError, bridge, get } from "./api.js";

/** The interval of the poll while there is no stream, in milliseconds. */
const POLL_WITHOUT_STREAM = 20_000;
const HIDDEN_TOO_LONG = 60_000;
/** What the user sees of the states of a watch. */
const STATES = {
    connecting: "connecting", live: "live", degraded: "degraded", "catching-up": "reconnecting", offline: "reconnecting",
    ended: "reconnecting",
};

/**
 * The state of the connection, for the user:
 * `connecting`, `live`, `reconnecting`, `degraded` (the server cannot read its database).
 * @typedef {"connecting" | "live" | "reconnecting" | "degraded"} ConnectionState
 */
export class LiveUpdates {
    #store;
    #onState;
    #running = false;
    /** @type {import("/client.js").Watch | null} */
    #watch = null;
    /** The position from which the next watch resumes. */
    #position = null;
    #failures = 0;
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
        window.addEventListener("offline", () => this.#running && this.#onState("reconnecting"));
    }

    start() {
        if (this.#running) return;
        this.#running = true;
        this.#failures = 0;
        this.#position = null;
        this.#polledAt = performance.now();
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
        const watch = bridge.watchAll({
            lastEventId: this.#position,
            onEvent: ({ event, data }) => this.#take(event, data),
            onState: ({ name }) => this.#onState(STATES[name]),
        });
        this.#watch = watch;
        // `revoked` and every other end: a request finds the reason, and signs out if the sign-in has ended.
        watch.ended.then(() => { if (watch === this.#watch) this.#recover(); });
    }

    /** After close(), the watch calls nothing more. */
    #close() {
        this.#position = this.#watch?.lastEventId ?? this.#position;
        const watch = this.#watch;
        this.#watch = null;
        watch?.close();
    }

    #take(event, data) {
        this.#failures = 0;
        switch (event) {
        case "session_added": this.#added(data); break;
        case "session_removed": this.#store.remove(data.session_id); break;
        // The first events leave out sessions that finished while there was no stream.
        case "ready": this.#catchUp(); break;
        default: this.#store.applyProgress(data);
        }
    }

    async #recover() {
        this.#close();
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

    // MARK: The poll, for networks that hold streams back

    #tick() {
        if (document.hidden || this.#polling || this.#watch?.state.name === "live") return;
        if (performance.now() - this.#polledAt >= POLL_WITHOUT_STREAM) this.#catchUp();
    }

    /** Reads everything that the page shows again. */
    async #catchUp() {
        if (!this.#running || this.#polling) return;
        this.#polling = true;
        try {
            await this.#store.resync();
        } catch (error) {
            const isLive = this.#watch?.state.name === "live";
            if (this.#running && error instanceof ApiError && error.isTemporary && !isLive) this.#onState("reconnecting");
        } finally {
            this.#polling = false;
            this.#polledAt = performance.now();
        }
    }

    // MARK: Tabs in the background

    /** Hidden tabs close their streams: a browser has six connections to a server, and visible tabs need them. */
    #visibilityChanged() {
        if (document.hidden) {
            this.#hiddenAt = performance.now();
            if (this.#running) this.#later("sleep", HIDDEN_TOO_LONG, () => this.#close());
            return;
        }
        clearTimeout(this.#timers.get("sleep"));
        if (!this.#running || performance.now() - this.#hiddenAt < HIDDEN_TOO_LONG) return;
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
