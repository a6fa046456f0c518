/**
 * Keeps the store up to date with the server. One tab of the browser, the leader, reads the stream of all sessions, and passes
 * it on to the others. `/client.js` keeps the stream alive.
 */

import { ApiError, bridge, get } from "./api.js";
import { Leadership } from "./tabs.js";
import { whenHeard } from "./wire.js";

/** The interval of the poll while there is no stream, in milliseconds. */
const POLL_WITHOUT_STREAM = 20_000;
/** The server sends a heartbeat every 15 s. After this silence, the page no longer claims to be live. */
const SILENCE = 22_000;
/** How often the leader tells the other tabs that the stream lives, in milliseconds. */
const BEAT = 500;

/**
 * The state of the connection: `connecting`, `live`, `catching-up`, `degraded` (the server has a fault) or `offline`.
 * @typedef {"connecting" | "live" | "catching-up" | "degraded" | "offline"} ConnectionState
 */
export class LiveUpdates {
    #store;
    #tabs;
    #onState;
    #running = false;
    #leadership = new Leadership("therapybridge.stream", () => this.#open(), () => this.#close());
    /** @type {import("/client.js").Watch | null} */
    #watch = null;
    /** The position from which the next watch resumes. */
    #position = null;
    #failures = 0;
    #polledAt = 0;
    #polling = false;
    #pollsAgain = false;
    #unknown = new Set();
    #timers = new Map();
    #ticker = 0;
    #toldAt = 0;
    /** @type {ConnectionState} */
    state = "connecting";
    /** When the last word of the server came, by the clock of `performance`. */
    heardAt = 0;

    /**
     * @param {import("./store.js").SessionStore} store
     * @param {import("./tabs.js").Tabs} tabs
     * @param {(state: ConnectionState) => void} onState
     */
    constructor(store, tabs, onState) {
        this.#store = store;
        this.#tabs = tabs;
        this.#onState = onState;
        whenHeard(() => this.#heard());
        tabs.on("hello", () => this.#tellState());
        tabs.on("state", ({ state, silence }) => { if (this.#follows) this.#follow(state, silence); });
        tabs.on("beat", () => { if (this.#follows) this.#followBeat(); });
        tabs.on("event", (event) => { if (this.#follows) this.#take(event); });
        window.addEventListener("offline", () => this.#running && this.#setState("offline"));
        window.addEventListener("online", () => this.#online());
        document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#tick(); });
    }

    /** True in the tab that reads the stream. */
    get isLeader() { return this.#leadership.isLeader; }

    get #follows() { return this.#running && !this.isLeader; }

    start() {
        if (this.#running) return;
        this.#running = true;
        this.#failures = 0;
        this.#position = null;
        this.#polledAt = performance.now();
        this.heardAt = performance.now();
        this.#setState("connecting");
        this.#ticker = setInterval(() => this.#tick(), 1_000);
        this.#leadership.run();
        this.#tabs.post("hello");
        this.#catchUp();
    }

    stop() {
        this.#running = false;
        clearInterval(this.#ticker);
        for (const timer of this.#timers.values()) clearTimeout(timer);
        this.#timers.clear();
        this.#unknown.clear();
        this.#leadership.resign();
        this.#close();
    }

    #online() {
        if (!this.#running) return;
        this.#setState(this.#watch?.state.name ?? "catching-up");
        this.#tabs.post("hello");
    }

    // MARK: The stream, in the tab that leads

    #open() {
        this.#close();
        const watch = bridge.watchAll({
            lastEventId: this.#position,
            watchdog: SILENCE,
            onEvent: (event) => {
                this.#take(event);
                this.#tabs.post("event", event);
            },
            onState: ({ name }) => { if (name !== "ended") this.#setState(name); },
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

    async #recover() {
        this.#close();
        this.#setState("catching-up");
        try {
            await get("/api/auth/me");
            this.#later("open", this.#backOff(), () => this.#open());
        } catch (error) {
            if (!this.#running || !(error instanceof ApiError) || !error.isTemporary) return;
            this.#setState("offline");
            this.#later("open", this.#backOff(), () => this.#recover());
        }
    }

    /** A delay that begins at 1 s and doubles up to 30 s. Jitter keeps many pages from coming back together. */
    #backOff() {
        const base = Math.min(30_000, 1_000 * 2 ** this.#failures++);
        return base * (0.5 + Math.random() / 2);
    }

    #heard() {
        this.heardAt = performance.now();
        if (this.heardAt - this.#toldAt < BEAT) return;
        this.#toldAt = this.heardAt;
        this.#tabs.post("beat");
    }

    #setState(state) {
        this.state = state;
        this.#onState(state);
        this.#tellState();
    }

    #tellState() {
        if (this.isLeader) this.#tabs.post("state", { state: this.state, silence: performance.now() - this.heardAt });
    }

    // MARK: The other tabs

    #follow(state, silence) {
        this.heardAt = Math.max(this.heardAt, performance.now() - silence);
        if (state === this.state) return;
        this.#setState(state);
        if (state === "live") this.#catchUp();
    }

    #followBeat() {
        this.heardAt = performance.now();
        if (this.state !== "live") this.#tabs.post("hello");
    }

    // MARK: What both do

    #take({ event, id, data }) {
        this.#failures = 0;
        this.heardAt = performance.now();
        if (id) this.#position = id;
        switch (event) {
        case "session_removed": this.#store.remove(data.session_id); break;
        // The first events leave out sessions that finished while there was no stream.
        case "ready": this.#catchUp(); break;
        default: if (!this.#store.applyProgress(data)) this.#added(data.session_id);
        }
    }

    /** A new session: the event has its progress, but not its patient and date. Many new sessions cost one read. */
    #added(id) {
        this.#unknown.add(id);
        this.#later("added", 100, () => {
            const ids = [...this.#unknown];
            this.#unknown.clear();
            if (ids.length > 5 || !this.#store.isLoaded) this.#catchUp();
            else for (const each of ids) this.#store.load(each).catch(() => {});
        });
    }

    #tick() {
        const now = performance.now();
        if (!this.#running) return;
        if (!this.isLeader && now - this.heardAt > SILENCE + 1_000) {
            if (this.state !== "offline") this.#setState("offline");
            // The tab that leads may be frozen. A tab that somebody looks at takes its place.
            if (!document.hidden && !this.#timers.has("steal")) this.#later("steal", 5_000, () => this.#takeOver());
        }
        if (document.hidden || this.#polling || this.state === "live") return;
        if (now - this.#polledAt >= POLL_WITHOUT_STREAM) this.#catchUp();
    }

    #takeOver() {
        const isStillSilent = performance.now() - this.heardAt > SILENCE;
        if (!this.isLeader && isStillSilent) this.#leadership.run({ steal: true });
    }

    /** Reads everything that is unfinished or failed again, for networks that hold streams back, too. */
    async #catchUp() {
        if (!this.#running) return;
        if (this.#polling) {
            this.#pollsAgain = true;
            return;
        }
        this.#polling = true;
        try {
            await this.#store.resync();
            this.#store.dispatchEvent(new CustomEvent("resync"));
        } catch (error) {
            const isLost = error instanceof ApiError && error.isTemporary && this.state !== "live";
            if (this.#running && isLost) this.#setState("offline");
        } finally {
            this.#polling = false;
            this.#polledAt = performance.now();
        }
        if (this.#pollsAgain) {
            this.#pollsAgain = false;
            await this.#catchUp();
        }
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
