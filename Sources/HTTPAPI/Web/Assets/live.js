/**
 * Keeps the store in step with the server: by the one stream of all sessions where the server has it, else by one
 * stream for each of a few sessions and a poll for the rest.
 */

import { ApiError, get, lastRefresh } from "./api.js";

/** Browsers allow six HTTP/1.1 connections per origin: three streams leave room for an upload, a player, a request. */
const MAX_SINGLE_STREAMS = 3;
const POLL_BUSY = 5_000;
const POLL_CALM = 20_000;
/** Heartbeats are invisible to EventSource, so a stream that says nothing for this long is checked by a request. */
const STREAM_SILENCE = 30_000;
const ALL_AGAIN = 300_000;
const HIDDEN_TOO_LONG = 60_000;

/**
 * What a person should know about the connection:
 * `connecting`, `live`, `polling` (fine, but every few seconds), `reconnecting`, `degraded` (the server cannot read its
 * database).
 * @typedef {"connecting" | "live" | "polling" | "reconnecting" | "degraded"} ConnectionState
 */
export class LiveUpdates {
    #store;
    #onState;
    /** Which session a person looks at; it gets a stream before others do. */
    #focus = null;
    #running = false;
    #mode = "all";
    /** @type {EventSource | null} */
    #all = null;
    /** @type {Map<string, EventSource>} */
    #single = new Map();
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
        store.addEventListener("change", () => this.#later("balance", 0, () => this.#balanceSingles()));
        document.addEventListener("visibilitychange", () => this.#visibilityChanged());
        window.addEventListener("online", () => this.#running && this.#later("reopen", 0, () => this.#reopen()));
        window.addEventListener("offline", () => this.#running && this.#onState("reconnecting"));
    }

    start() {
        if (this.#running) return;
        this.#running = true;
        this.#failures = 0;
        this.#polledAt = Date.now();
        this.#onState("connecting");
        this.#ticker = setInterval(() => this.#tick(), 1_000);
        if (this.#mode === "all") this.#openAll();
        else this.#balanceSingles();
    }

    stop() {
        this.#running = false;
        clearInterval(this.#ticker);
        for (const timer of this.#timers.values()) clearTimeout(timer);
        this.#timers.clear();
        this.#closeStreams();
    }

    /** Tells which session is being looked at, or null. */
    focus(id) {
        this.#focus = id;
        if (this.#running) this.#balanceSingles();
    }

    // MARK: The stream of all sessions

    #openAll() {
        this.#closeStreams();
        const openedAt = Date.now();
        let wasHeard = false;
        const source = new EventSource("/api/sessions/status/stream");
        this.#all = source;
        const on = (name, handle) => source.addEventListener(name, (event) => {
            if (source !== this.#all) return;
            wasHeard = true;
            this.#heardAt = Date.now();
            handle(event.data ? JSON.parse(event.data) : {});
        });
        source.addEventListener("open", () => {
            wasHeard = true;
            this.#opened();
        });
        on("progress", (progress) => this.#store.applyProgress(progress));
        on("complete", (progress) => this.#store.applyProgress(progress));
        on("session_added", (progress) => this.#added(progress));
        on("session_removed", ({ session_id: id }) => this.#store.remove(id));
        // A session that finished while nobody listened is not in the snapshot that `ready` ends.
        on("ready", () => this.#catchUp());
        on("degraded", () => this.#onState("degraded"));
        on("recovered", () => this.#onState("live"));
        on("unavailable", () => this.#lost());
        on("expired", () => this.#recover(openedAt, true));
        on("revoked", () => this.#recover(openedAt, true));
        source.addEventListener("error", (event) => {
            if (source !== this.#all) return;
            if (event instanceof MessageEvent) { // our own `event: error`: a session has failed
                this.#store.applyProgress(JSON.parse(event.data));
            } else if (source.readyState === EventSource.CLOSED) {
                this.#recover(openedAt, wasHeard);
            } else {
                this.#lost(); // the browser reconnects by itself
            }
        });
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
     * The browser has given up on the stream, which it does on any status but 200, without telling which. A request
     * finds out: signed out, server away, token refreshed on the way, or a server that has no such stream.
     */
    async #recover(openedAt, wasHeard) {
        this.#closeStreams();
        this.#lost();
        try {
            await get("/api/auth/me");
            if (!this.#running) return;
            if (wasHeard || lastRefresh() > openedAt) {
                this.#later("reopen", this.#backOff(), () => this.#reopen());
            } else {
                this.#mode = "single";
                this.#onState("polling");
                this.#balanceSingles();
                this.#catchUp();
                this.#later("all-again", ALL_AGAIN, () => { this.#mode = "all"; this.#openAll(); });
            }
        } catch (error) {
            if (!this.#running || !(error instanceof ApiError) || !error.isTemporary) return;
            this.#later("reopen", this.#backOff(), () => this.#recover(openedAt, wasHeard));
        }
    }

    #reopen() {
        if (this.#mode === "all") this.#openAll();
        else this.#catchUp();
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

    // MARK: One stream a session

    #balanceSingles() {
        if (!this.#running || this.#mode !== "single") return;
        const unfinished = this.#store.unfinished().map((session) => session.id);
        const first = unfinished.filter((id) => id === this.#focus);
        const rest = unfinished.filter((id) => id !== this.#focus);
        const wanted = [...first, ...rest].slice(0, MAX_SINGLE_STREAMS);
        for (const id of [...this.#single.keys()]) if (!wanted.includes(id)) this.#closeSingle(id);
        for (const id of wanted) if (!this.#single.has(id)) this.#openSingle(id);
    }

    #openSingle(id) {
        const source = new EventSource(`/api/sessions/${id}/status/stream`);
        this.#single.set(id, source);
        const apply = (event) => {
            this.#heardAt = Date.now();
            this.#store.applyProgress(JSON.parse(event.data));
        };
        const finish = (event) => {
            apply(event);
            this.#closeSingle(id); // or the browser would reconnect to be told the same
        };
        source.addEventListener("progress", apply);
        source.addEventListener("complete", finish);
        for (const name of ["revoked", "expired"]) {
            source.addEventListener(name, () => {
                this.#closeSingle(id);
                this.#catchUp();
            });
        }
        source.addEventListener("degraded", () => this.#onState("degraded"));
        source.addEventListener("recovered", () => this.#onState("polling"));
        source.addEventListener("error", (event) => {
            if (event instanceof MessageEvent) {
                finish(event);
            } else if (source.readyState === EventSource.CLOSED) {
                // Refused. The entry stays for a while, so that it is not asked for at once again; the poll serves it.
                this.#later(`drop ${id}`, 60_000, () => this.#closeSingle(id));
            }
        });
    }

    #closeSingle(id) {
        this.#single.get(id)?.close();
        this.#single.delete(id);
    }

    #closeStreams() {
        this.#all?.close();
        this.#all = null;
        this.#isOpen = false;
        for (const id of [...this.#single.keys()]) this.#closeSingle(id);
    }

    // MARK: The poll

    #tick() {
        if (document.hidden || this.#polling) return;
        if (Date.now() - this.#polledAt >= this.#pollDelay()) this.#catchUp();
    }

    /** How long after the last poll the next is due. */
    #pollDelay() {
        const unfinished = this.#store.unfinished();
        if (this.#mode === "all" && this.#isOpen) {
            const isSilent = unfinished.length > 0 && Date.now() - this.#heardAt > STREAM_SILENCE;
            return isSilent ? STREAM_SILENCE : Infinity;
        }
        const isUnwatched = ({ id }) => this.#single.get(id)?.readyState !== EventSource.OPEN;
        return unfinished.some(isUnwatched) ? POLL_BUSY : POLL_CALM;
    }

    /** Reads what is shown again. Also the proof, in single mode, that the server is there. */
    async #catchUp() {
        if (!this.#running || this.#polling) return;
        this.#polling = true;
        try {
            await this.#store.resync();
            if (this.#running && this.#mode === "single") this.#onState("polling");
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
            if (this.#running) this.#later("sleep", HIDDEN_TOO_LONG, () => this.#closeStreams());
            return;
        }
        clearTimeout(this.#timers.get("sleep"));
        if (!this.#running || Date.now() - this.#hiddenAt < HIDDEN_TOO_LONG) return;
        if (this.#mode === "all") this.#openAll();
        else this.#balanceSingles();
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
