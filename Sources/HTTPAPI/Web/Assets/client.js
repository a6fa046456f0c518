/**
 * A client of TherapyBridge for browsers and for Node.js 18 and later, in one file without dependencies.
 *
 *     import { TherapyBridge } from "/client.js";
 *     const bridge = new TherapyBridge();
 *     for await (const progress of bridge.watch(sessionId)) console.log(progress.status, progress.progress);
 *
 * docs/clients.md describes it, client.d.ts has its types, and Tests/Clients/cases.json says what it does when the server
 * misbehaves. All times are durations from a monotonic clock: the date of the device may be wrong.
 */

// MARK: Errors

/** A request that failed. `status` is 0 if no answer came. The other members are those of problem+json (RFC 9457). */
export class ApiError extends Error {
    constructor(status, problem = {}, retryAfter = null) {
        super(problem.detail || problem.title || (status ? `The server answered with ${status}.` : "No answer came."));
        this.name = "ApiError";
        this.status = status;
        this.type = problem.type ?? "about:blank";
        this.title = problem.title ?? "";
        this.detail = problem.detail ?? "";
        this.errors = problem.errors ?? [];
        this.requestId = problem.request_id ?? null;
        /** The milliseconds after which the server takes the request again, or null. */
        this.retryAfter = retryAfter;
    }

    /** True if the same request can succeed later. */
    get isTemporary() {
        return this.status === 0 || [408, 423, 425, 429, 507].includes(this.status)
            || (this.status >= 500 && this.status !== 501 && this.status !== 505);
    }
}

/** The end of a watch for a reason that is neither the end of the session nor your own close(). */
export class WatchEnded extends Error {
    constructor({ reason, detail }) {
        super(detail || `The watch has ended: ${reason}.`);
        this.name = "WatchEnded";
        this.reason = reason;
    }
}

async function errorFrom(response) {
    let problem = {};
    try {
        problem = (await response.json()) ?? {};
    } catch {
        // A proxy in front of the server may answer with HTML or with nothing.
    }
    return new ApiError(response.status, problem, retryAfter(response.headers));
}

/** `Retry-After` in milliseconds, or null. A date is compared with the server's own `Date`, never with our clock. */
function retryAfter(headers) {
    const value = headers.get("Retry-After");
    if (value === null || value === "") return null;
    if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
    const wait = Date.parse(value) - Date.parse(headers.get("Date") ?? "");
    return wait >= 0 ? wait : null;
}

// MARK: Waiting

const MAX_DELAY = 30_000;

/** A delay that doubles up to 30 s, and is never shorter than the server asked for. Jitter spreads the clients. */
function backOff(base, failures, atLeast = 0) {
    const wait = Math.max(Math.min(MAX_DELAY, base * 2 ** Math.min(failures, 16)), base, atLeast ?? 0);
    return wait * (1 + Math.random() / 2);
}

/** Waits. An abort or a return of the network ends the wait early. */
function pause(milliseconds, signal) {
    return new Promise((resolve) => {
        const done = () => {
            clearTimeout(timer);
            signal?.removeEventListener("abort", done);
            globalThis.removeEventListener?.("online", done);
            resolve();
        };
        const timer = setTimeout(done, milliseconds);
        signal?.addEventListener("abort", done);
        globalThis.addEventListener?.("online", done);
        if (signal?.aborted) done();
    });
}

/** Aborts a connection that is silent for too long, and passes on the abort of another signal. */
class Watchdog {
    #abort = new AbortController();
    #timer = null;
    #outer;
    #limit;
    #reject = null;
    #pass = () => {
        this.#abort.abort();
        this.#reject?.(new Error("Nothing came for too long."));
    };

    constructor(limit, outer) {
        this.#limit = limit;
        this.#outer = outer;
        outer?.addEventListener("abort", this.#pass);
        if (outer?.aborted) this.#abort.abort();
        this.touch();
    }

    /** The signal for fetch(). */
    get signal() { return this.#abort.signal; }

    /** Waits for one step of the connection. In Node.js 18, the garbage collector may lose the abort of a fetch(). */
    guard(step) {
        return new Promise((resolve, reject) => {
            this.#reject = reject;
            step.then(resolve, reject);
            if (this.#abort.signal.aborted) this.#pass();
        });
    }

    touch() {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(this.#pass, this.#limit);
    }

    stop() {
        clearTimeout(this.#timer);
        this.#outer?.removeEventListener("abort", this.#pass);
    }
}

function report(error) {
    if (globalThis.reportError) globalThis.reportError(error);
    else console.error(error);
}

// MARK: Tokens

/** Keeps the tokens in memory: each tab has its own sign-in, which ends with the tab. */
export function memoryTokens() {
    let pair = null;
    return { get: () => pair, set: (next) => { pair = next; } };
}

/** Keeps the tokens in localStorage: all tabs share one sign-in. Every script of the page can read them. */
export function storedTokens(key = "therapybridge.tokens") {
    return {
        get: () => JSON.parse(localStorage.getItem(key) ?? "null"),
        set: (pair) => pair ? localStorage.setItem(key, JSON.stringify(pair)) : localStorage.removeItem(key),
    };
}

/**
 * The credential of the requests. A refresh token works once, and using it again ends the sign-in. Therefore only one
 * refresh runs at a time: a promise guards this tab, and a Web Lock guards all tabs, where the browser has one.
 */
class Credentials {
    #client;
    #tokens;
    #refreshing = null;
    #count = 0;
    /** The answer that refused the last refresh, as an ApiError, or null. */
    refusal = null;

    constructor(client, tokens) {
        this.#client = client;
        this.#tokens = tokens;
    }

    get usesCookies() { return this.#tokens === null; }

    /** Adds the credential to a request. */
    apply(headers, init) {
        init.credentials = this.usesCookies ? "include" : "omit";
        const token = this.#tokens?.get()?.access_token;
        if (token) headers.Authorization = `Bearer ${token}`;
    }

    /** A value that changes with every refresh of any tab. A number, because the clocks of a device may jump. */
    get mark() {
        if (!this.usesCookies) return this.#tokens.get()?.access_token ?? null;
        try {
            return Number(localStorage.getItem(this.#key)) || 0;
        } catch {
            return this.#count; // There is no storage, or the user has disabled it. Each tab counts on its own.
        }
    }

    get #key() { return `therapybridge.refreshes ${this.#client.baseURL}`; }

    /** Keeps the tokens of an answer. */
    accept(pair) {
        if (!this.usesCookies) {
            this.#tokens.set({ access_token: pair.access_token, refresh_token: pair.refresh_token });
            return;
        }
        this.#count += 1;
        try {
            localStorage.setItem(this.#key, String((Number(localStorage.getItem(this.#key)) || 0) + 1));
        } catch {
            // See `mark`.
        }
    }

    forget() { this.#tokens?.set(null); }

    /**
     * Gets new tokens, unless another request or tab has done so since `mark`.
     * @returns {Promise<boolean>} false if the sign-in has ended
     * @throws {ApiError} if no answer came, or a temporary one
     */
    refresh(mark) {
        this.#refreshing ??= this.#exclusively(async () => {
            if (this.mark !== mark) return true;
            const stored = this.#tokens?.get()?.refresh_token;
            if (!this.usesCookies && !stored) return false;
            const body = this.usesCookies ? undefined : { refresh_token: stored };
            const response = await this.#client.send("POST", "/api/auth/refresh", { body, anonymous: true });
            if (response.ok) {
                this.accept(await response.json());
                return true;
            }
            const error = await errorFrom(response);
            if (error.isTemporary) throw error;
            this.refusal = error;
            return false;
        }).finally(() => { this.#refreshing = null; });
        return this.#refreshing;
    }

    #exclusively(work) {
        const locks = globalThis.navigator?.locks;
        return locks ? locks.request(this.#key, work) : work();
    }
}

// MARK: The format of Server-Sent Events

const MAX_EVENT = 8 * 1024 * 1024;

/** Reads the text of a stream. https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream */
export class EventParser {
    #line = "";
    #skipsLineFeed = false;
    #data = [];
    #event = "";
    #id = null;
    #size = 0;
    #onRetry;

    constructor(onRetry = () => {}) { this.#onRetry = onRetry; }

    /** True if the text has ended in the middle of an event. */
    get isInsideEvent() { return this.#line !== "" || this.#data.length > 0; }

    /** Returns the events that end in this text. Throws a RangeError if one is larger than 8 MiB. */
    feed(text) {
        const events = [];
        let start = 0;
        if (this.#skipsLineFeed && text) {
            this.#skipsLineFeed = false;
            if (text[0] === "\n") start = 1;
        }
        const ends = /\r\n|\n|\r/g;
        ends.lastIndex = start;
        for (let end = ends.exec(text); end; end = ends.exec(text)) {
            this.#take(this.#line + text.slice(start, end.index), events);
            this.#line = "";
            start = ends.lastIndex;
            if (end[0] === "\r" && start === text.length) this.#skipsLineFeed = true;
        }
        this.#line += text.slice(start);
        if (this.#size + this.#line.length > MAX_EVENT) throw new RangeError("An event is larger than 8 MiB.");
        return events;
    }

    #take(line, events) {
        if (line === "") {
            if (this.#data.length) events.push({ event: this.#event || "message", id: this.#id, data: this.#data.join("\n") });
            this.#data = [];
            this.#event = "";
            this.#id = null;
            this.#size = 0;
            return;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
        this.#size += line.length;
        if (field === "data") this.#data.push(value);
        else if (field === "event") this.#event = value;
        else if (field === "id" && !value.includes("\0")) this.#id = value;
        else if (field === "retry" && /^\d+$/.test(value)) this.#onRetry(Math.min(Number(value), 600_000));
    }
}

// MARK: Order

/**
 * Drops duplicate and late states by their versions. A server that restored an older backup begins a connection with
 * lower versions than the client has: those are the truth, and the client takes them.
 */
class Versions {
    #known = new Map();
    /** On a stream of all sessions: the newest of the low versions of this connection. Its `ready` settles them. */
    #low = new Map();
    #isFirst = true;
    #isOpening = true;
    #all;

    constructor(all) { this.#all = all; }

    opened() {
        this.#isFirst = true;
        this.#isOpening = true;
        this.#low.clear();
    }

    /** Returns true if the state is new. */
    accepts(event) {
        const { session_id: id, version } = event.data;
        const known = this.#known.get(id) ?? 0;
        const isFirst = this.#isFirst;
        this.#isFirst = false;
        if (version < known && this.#all && this.#isOpening) {
            if (!((this.#low.get(id)?.data.version ?? 0) > version)) this.#low.set(id, event);
            return false;
        }
        this.#low.delete(id);
        if (version > known || (version < known && isFirst && !this.#all)) {
            this.#known.set(id, version);
            return true;
        }
        return false;
    }

    /** The states of restored sessions, at the `ready` of a stream of all sessions. */
    ready() {
        const restored = [...this.#low.values()];
        this.#isOpening = false;
        this.#low.clear();
        for (const { data } of restored) this.#known.set(data.session_id, data.version);
        return restored;
    }

    remove(id) {
        this.#known.delete(id);
        this.#low.delete(id);
    }
}

/** What an iterator has not read yet. A newer percentage takes the place of an older one, so that it stays small. */
class Queue {
    #entries = [];
    #newest = new Map();
    #waiting = null;
    #end = null;

    push(value, session, key) {
        const last = this.#newest.get(session);
        if (session && last?.isQueued && last.key === key) {
            last.value = value;
            return;
        }
        const entry = { value, session, key, isQueued: true };
        this.#entries.push(entry);
        if (session) this.#newest.set(session, entry);
        this.#wake();
    }

    end(error = null) {
        this.#end ??= { error };
        this.#wake();
    }

    async next() {
        while (!this.#entries.length && !this.#end) await new Promise((resolve) => { this.#waiting = resolve; });
        if (!this.#entries.length) {
            const { error } = this.#end;
            this.#end.error = null;
            if (error) throw error;
            return { value: undefined, done: true };
        }
        const entry = this.#entries.shift();
        entry.isQueued = false;
        if (this.#newest.get(entry.session) === entry) this.#newest.delete(entry.session);
        return { value: entry.value, done: false };
    }

    #wake() {
        this.#waiting?.();
        this.#waiting = null;
    }
}

// MARK: Watching

// What becomes of a connection.
const ended = (reason, detail = "") => ({ kind: "ended", reason, detail });
const lost = (detail, after = 0) => ({ kind: "lost", detail, after });
/** The server ended the stream on purpose, for example after an hour. */
const planned = () => ({ kind: "planned" });
const expired = (isRefused = false) => ({ kind: "expired", isRefused });
const busy = () => ({ kind: "busy" });

function outcomeOf(error) {
    if (error.status === 401) return expired(true);
    if (error.status === 403) return ended(isInactive(error) ? "account-inactive" : "forbidden", error.message);
    if (error.status === 404) return ended("not-found", error.message);
    return error.isTemporary ? lost(error.message, error.retryAfter) : ended("refused", error.message);
}

const isInactive = (error) => error.type.endsWith("/account-inactive");

const STATES = new Set(["progress", "complete", "error", "session_added"]);
const FINISHED = new Set(["processed", "failed"]);
/** A watch that ends for one of these reasons ends its iterator without an error. */
const GOOD_ENDS = new Set(["complete", "failed", "finished", "closed"]);

const errorOf = (end) => GOOD_ENDS.has(end.reason) ? null : new WatchEnded(end);

/** Follows one session or all sessions. Made by TherapyBridge.watch() and watchAll(). */
export class Watch {
    #client;
    #session;
    #options;
    #abort = new AbortController();
    #queues = new Set();
    #versions;
    #failures = 0;
    #refusals = 0;
    #wasLive = false;
    #retry;
    #etag = null;
    #list = null;
    #settle;
    /** The state of the connection. See `WatchState` in client.d.ts. */
    state;
    /** The newest progress object of one session, or null. */
    progress = null;
    /** The id from which a new connection resumes, or null. */
    lastEventId;
    /** Resolves with `{reason, detail}` at the end, and never rejects. */
    ended = new Promise((resolve) => { this.#settle = resolve; });

    constructor(client, session, options) {
        this.#client = client;
        this.#session = session;
        this.#options = options;
        this.#versions = new Versions(session === null);
        this.#retry = options.retry ?? 2000;
        this.lastEventId = options.lastEventId ?? null;
        const transport = options.transport ?? "fetch";
        const transports = {
            fetch: () => this.#byFetch(), eventsource: () => this.#byEventSource(false),
            ticket: () => this.#byEventSource(true), websocket: () => this.#bySocket(),
            poll: () => session === null ? this.#byPollOfAll() : this.#byPoll(),
        };
        if (!transports[transport]) {
            throw new TypeError(`The transport ${transport} is not one of this watch.`);
        }
        // Browsers hide heartbeats from an EventSource, and pings from a WebSocket.
        const hidesHeartbeats = ["eventsource", "ticket", "websocket"].includes(transport);
        this.state = { name: "connecting", canDetectFreeze: !hidesHeartbeats, reason: null, detail: "" };
        const close = () => this.close();
        options.signal?.addEventListener("abort", close, { once: true });
        if (options.signal?.aborted) this.close();
        Promise.resolve().then(() => {
            this.#tell("onState", this.state);
            return this.#run(transports[transport]);
        }).catch((error) => {
            report(error);
            return ended("refused", String(error));
        }).then((end) => {
            options.signal?.removeEventListener("abort", close);
            this.#setState("ended", end.reason, end.detail);
            for (const queue of this.#queues) queue.end(errorOf(end));
            this.#settle({ reason: end.reason, detail: end.detail });
        });
    }

    /** Ends the watch. No callback is called from then on. Its reason is `closed`. */
    close() { this.#abort.abort(); }

    /** Progress objects of one session, or `{event, id, data}` of all sessions. A slow loop skips percentages. */
    [Symbol.asyncIterator]() {
        const queue = new Queue();
        this.#queues.add(queue);
        if (this.progress) queue.push(this.progress);
        if (this.state.name === "ended") queue.end(errorOf(this.state));
        return {
            next: () => queue.next(),
            return: () => {
                this.#queues.delete(queue);
                this.close();
                return Promise.resolve({ value: undefined, done: true });
            },
            [Symbol.asyncIterator]() { return this; },
        };
    }

    async #run(connect) {
        const signal = this.#abort.signal;
        while (!signal.aborted) {
            const mark = this.#client.credentials.mark;
            let outcome;
            try {
                outcome = await connect();
            } catch (error) {
                if (!(error instanceof ApiError)) throw error;
                outcome = outcomeOf(error);
            }
            if (signal.aborted) break;
            if (outcome.kind === "expired") outcome = await this.#renew(mark, outcome);
            if (outcome.kind === "ended") return outcome;
            await this.#prepare(outcome, signal);
        }
        return ended("closed");
    }

    /** Waits until the next connection is due. */
    async #prepare(outcome, signal) {
        if (outcome.kind === "renewed") return;
        if (outcome.kind === "busy") this.#setState("degraded", null, "The server is busy.");
        else if (outcome.kind === "planned") this.#setState("catching-up");
        else this.#setState("offline", null, outcome.detail);
        // The server spreads the clients over the delay that it names. Doubling is for connections that fail.
        const failures = outcome.kind === "planned" ? 0 : this.#failures++;
        await pause(backOff(this.#retry, failures, outcome.after), signal);
    }

    /** Refreshes the token. A second refusal of fresh tokens ends the watch. */
    async #renew(mark, { isRefused }) {
        if (isRefused && ++this.#refusals > 1) return ended("signed-out", "The server refuses fresh tokens.");
        if (this.state.name === "live") this.#setState("catching-up");
        for (let failures = 0; !this.#abort.signal.aborted; failures += 1) {
            try {
                const { credentials } = this.#client;
                if (!await credentials.refresh(mark)) {
                    const isOfAccount = credentials.refusal !== null && isInactive(credentials.refusal);
                    return ended(isOfAccount ? "account-inactive" : "signed-out", "The sign-in has ended.");
                }
                // A token that expires at once must not make a busy loop.
                return this.#failures > 3 ? lost("The token expires at once.") : (this.#failures++, { kind: "renewed" });
            } catch (error) {
                if (!(error instanceof ApiError)) throw error;
                this.#setState("offline", null, error.message);
                await pause(backOff(this.#retry, failures, error.retryAfter), this.#abort.signal);
            }
        }
        return ended("closed");
    }

    #path(end) {
        return this.#session === null ? `/api/sessions/status/${end}` : `/api/sessions/${this.#session}/status/${end}`;
    }

    /** The connection stands, but nothing has come yet. */
    #opened() {
        this.#versions.opened();
        if (this.state.name === "offline" && this.#wasLive) this.#setState("catching-up");
    }

    #live() {
        this.#failures = 0;
        this.#refusals = 0;
        this.#wasLive = true;
        this.#setState("live");
    }

    /** Handles an event. Returns an outcome if the connection ends with it. */
    #receive({ event, id, data: text }) {
        let data;
        try {
            data = JSON.parse(text);
        } catch {
            return null; // Its id is not kept: a reconnect gets the state again.
        }
        if (STATES.has(event)) return this.#state({ event, id, data });
        switch (event) {
        case "ready":
            for (const restored of this.#versions.ready()) this.#deliver(restored);
            this.#live();
            this.#deliver({ event, id, data });
            break;
        case "session_removed":
            this.#versions.remove(data.session_id);
            this.#deliver({ event, id, data });
            break;
        case "degraded":
            this.#setState("degraded", null, "The database does not answer.");
            break;
        case "recovered": this.#live(); break;
        case "unavailable": return busy();
        case "revoked": return ended("revoked", "The right to see this has ended.");
        case "expired": return expired();
        default: break; // A newer server has more events.
        }
        return null;
    }

    #state({ event, id, data }) {
        if (!Number.isSafeInteger(data?.version) || typeof data.session_id !== "string") return null;
        const isNew = this.#versions.accepts({ event, id, data });
        if (this.#session !== null) {
            this.#live();
            if (isNew) this.lastEventId = String(data.version);
        } else if (id) {
            this.lastEventId = id;
        }
        if (isNew) this.#deliver({ event, id, data });
        const isLast = this.#session !== null && (event === "complete" || event === "error");
        return isLast ? ended(event === "error" ? "failed" : "complete", data.error ?? "") : null;
    }

    #deliver({ event, id, data }) {
        if (this.#session === null && id) this.lastEventId = id;
        if (STATES.has(event)) {
            if (this.#session !== null) this.progress = data;
            this.#tell("onProgress", data);
        }
        this.#tell("onEvent", { event, id, data });
        const value = this.#session === null ? { event, id, data } : data;
        const key = event === "progress" ? `${data.attempt} ${data.status}` : null;
        for (const queue of this.#queues) queue.push(value, key && data.session_id, key);
    }

    #setState(name, reason = null, detail = "") {
        if (this.state.name === name && this.state.detail === detail) return;
        this.state = { ...this.state, name, reason, detail };
        this.#tell("onState", this.state);
    }

    #tell(callback, value) {
        if (this.#abort.signal.aborted) return;
        try {
            this.#options[callback]?.(value);
        } catch (error) {
            report(error); // A fault of the page must not end its stream.
        }
    }

    // MARK: Transports. Each makes one connection and returns its outcome.

    async #byFetch() {
        const watchdog = new Watchdog(this.#options.watchdog ?? 25_000, this.#abort.signal);
        try {
            const headers = { Accept: "text/event-stream" };
            if (this.lastEventId !== null) headers["Last-Event-ID"] = this.lastEventId;
            const { signal } = watchdog;
            const response = await watchdog.guard(this.#client.send("GET", this.#path("stream"), { headers, signal }));
            if (response.status === 204) return ended("finished");
            if (!response.ok) return outcomeOf(await errorFrom(response));
            if (!/^text\/event-stream\b/i.test(response.headers.get("Content-Type") ?? "")) {
                return lost("Something between us and the server answers in its place.");
            }
            this.#opened();
            return await this.#read(response.body.getReader(), watchdog);
        } catch (error) {
            if (error instanceof ApiError) throw error;
            return lost(watchdog.signal.aborted ? "Nothing came for too long." : "The connection broke.");
        } finally {
            watchdog.stop();
        }
    }

    async #read(reader, watchdog) {
        const parser = new EventParser((milliseconds) => { this.#retry = milliseconds; });
        const decoder = new TextDecoder();
        let hasEvents = false;
        try {
            for (;;) {
                const { value, done } = await watchdog.guard(reader.read());
                if (done) break;
                watchdog.touch();
                for (const event of parser.feed(decoder.decode(value, { stream: true }))) {
                    hasEvents = true;
                    const outcome = this.#receive(event);
                    if (outcome) return outcome;
                    if (this.#abort.signal.aborted) return ended("closed");
                }
            }
            return hasEvents && !parser.isInsideEvent ? planned() : lost("The stream ended too early.");
        } finally {
            reader.cancel().catch(() => {});
        }
    }

    /** With a cookie, the browser reconnects. With a ticket, it would send a spent one: the source is closed at once. */
    async #byEventSource(usesTicket) {
        const query = new URLSearchParams();
        if (this.lastEventId !== null) query.set("last_event_id", this.lastEventId);
        if (usesTicket) query.set("ticket", await this.#ticket());
        if (this.#abort.signal.aborted) return ended("closed");
        const EventSource = this.#client.EventSource;
        const source = new EventSource(this.#client.url(`${this.#path("stream")}?${query}`), { withCredentials: !usesTicket });
        const outcome = await this.#untilAborted((resolve) => {
            const take = (event) => {
                const end = this.#receive({ event: event.type, id: event.lastEventId || null, data: event.data });
                // The browser itself comes back to a busy server, after the delay that the server names.
                if (end?.kind === "busy" && !usesTicket) {
                    this.#setState("degraded", null, "The server is busy.");
                } else if (end) {
                    source.close();
                    resolve(end);
                }
            };
            for (const name of ["progress", "complete", "session_added", "session_removed", "ready", "degraded",
                "recovered", "unavailable", "revoked", "expired"]) source.addEventListener(name, take);
            source.addEventListener("open", () => this.#opened());
            source.addEventListener("error", (event) => {
                if (typeof event.data === "string") {
                    take(event); // The server's `event: error`: the session failed.
                } else if (usesTicket || source.readyState === 2) {
                    const isGivenUp = source.readyState === 2;
                    source.close();
                    resolve(isGivenUp && !usesTicket ? null : lost("The connection broke."));
                } else if (this.state.name !== "degraded") {
                    this.#setState("offline", null, "The connection broke.");
                }
            });
        });
        source.close();
        return outcome ?? this.#reasonOfRefusal();
    }

    /** A promise like that of `new Promise(work)`, which the end of the watch resolves, too. */
    async #untilAborted(work) {
        let stop;
        const outcome = await new Promise((resolve) => {
            stop = () => resolve(ended("closed"));
            this.#abort.signal.addEventListener("abort", stop);
            work(resolve);
        });
        this.#abort.signal.removeEventListener("abort", stop);
        return outcome;
    }

    /** A browser gives up an EventSource at any status but 200, and hides the status. A request finds the reason. */
    async #reasonOfRefusal() {
        if (this.#session === null) {
            await this.#client.request("GET", "/api/auth/me", { signal: this.#abort.signal });
            return lost("The connection was refused.");
        }
        const { progress } = await this.#client.request("GET", `/api/sessions/${this.#session}`, { signal: this.#abort.signal });
        const isKnown = Number(this.lastEventId) >= progress.version;
        return FINISHED.has(progress.status) && isKnown ? ended("finished") : lost("The connection was refused.");
    }

    async #ticket() {
        const { ticket } = await this.#client.request("POST", this.#path("ticket"), { signal: this.#abort.signal });
        return ticket;
    }

    /** A browser's WebSocket sends no header: with a bearer token it needs a ticket. */
    async #bySocket() {
        const query = new URLSearchParams();
        if (this.lastEventId !== null) query.set("last_event_id", this.lastEventId);
        if (!this.#client.credentials.usesCookies) query.set("ticket", await this.#ticket());
        const url = this.#client.url(`${this.#path("ws")}?${query}`).replace(/^http/, "ws");
        if (this.#abort.signal.aborted) return ended("closed");
        const WebSocket = this.#client.WebSocket;
        const socket = new WebSocket(url);
        const outcome = await this.#untilAborted((resolve) => {
            socket.addEventListener("open", () => this.#opened());
            socket.addEventListener("message", ({ data }) => {
                const outcome = this.#receive(this.#session === null ? unwrap(data) : { event: "progress", id: null, data });
                if (outcome) resolve(outcome);
            });
            socket.addEventListener("close", ({ code, reason }) => resolve(this.#outcomeOfClose(code, reason)));
        });
        socket.close();
        return outcome;
    }

    #outcomeOfClose(code, reason) {
        if (code === 1000) return this.#finished();
        if (code === 1001) return planned();
        if (code === 1013 || (code === 1011 && reason === "unavailable")) return busy();
        if (code === 1008) {
            if (reason === "unauthorized" || reason === "expired") return expired(reason === "unauthorized");
            const isKnown = ["account-inactive", "forbidden", "not-found", "revoked"].includes(reason);
            return ended(isKnown ? reason : "refused", reason);
        }
        return [1002, 1007, 1009].includes(code) ? ended("refused", reason) : lost("The connection broke.");
    }

    #finished() {
        const status = this.progress?.status;
        if (status === "failed") return ended("failed", this.progress.error ?? "");
        return ended(status === "processed" ? "complete" : "finished");
    }

    async #byPoll() {
        for (;;) {
            const answer = await this.#poll(`/api/sessions/${this.#session}/status`, this.#etag);
            if (answer === null) {
                this.#live();
            } else {
                this.#versions.opened();
                this.#receive({ event: "progress", id: null, data: answer.text });
                this.#etag = answer.etag;
            }
            if (FINISHED.has(this.progress?.status)) return this.#finished();
            if (!await this.#untilNextPoll()) return ended("closed");
        }
    }

    /** Reads the list of unfinished and failed sessions again and again, and makes events of what has changed. */
    async #byPollOfAll() {
        this.#list ??= new PolledList((path, etag) => this.#poll(path, etag));
        for (let isFirst = true; ; isFirst = false) {
            const { changes, isIncomplete } = await this.#list.read(isFirst);
            this.#versions.opened();
            for (const { event, data } of changes) this.#receive({ event, id: null, data: JSON.stringify(data) });
            if (isFirst || isIncomplete) {
                this.#receive({ event: "ready", id: null, data: "{}" });
            } else {
                for (const restored of this.#versions.ready()) this.#deliver(restored);
                this.#live();
            }
            if (!await this.#untilNextPoll()) return ended("closed");
        }
    }

    /**
     * One GET of a poll: `{text, etag}`, or null for 304.
     * @throws {ApiError} for every other status, and of status 0 if no answer came
     */
    async #poll(path, etag) {
        const watchdog = new Watchdog(this.#options.watchdog ?? 25_000, this.#abort.signal);
        try {
            const headers = etag === null ? {} : { "If-None-Match": etag };
            const response = await watchdog.guard(this.#client.send("GET", path, { headers, signal: watchdog.signal }));
            if (response.status === 304) return null;
            if (!response.ok) throw await errorFrom(response);
            return { text: await watchdog.guard(response.text()), etag: response.headers.get("ETag") };
        } catch (error) {
            throw error instanceof ApiError ? error : new ApiError(0, { detail: "No answer came." });
        } finally {
            watchdog.stop();
        }
    }

    /** Waits between two polls. Returns false if the watch was closed meanwhile. */
    async #untilNextPoll() {
        await pause((this.#options.pollInterval ?? 2000) * (0.75 + Math.random() / 2), this.#abort.signal);
        return !this.#abort.signal.aborted;
    }
}

/**
 * The list of unfinished and failed sessions, page by page, each with its ETag. A session that leaves the list is finished
 * or gone, which its own status tells.
 */
class PolledList {
    #get;
    /** The pages of the last poll: `{path, etag, items, next, processed}`. */
    #pages = [];
    /** The statuses of the sessions at the last poll, by their ids. */
    #known = new Map();
    #processed = null;

    constructor(get) { this.#get = get; }

    /**
     * Reads the list.
     * @param {boolean} isFirst true for the first poll of a connection
     * @returns `{changes, isIncomplete}`: events, and true if sessions have come and gone between two polls
     */
    async read(isFirst) {
        const pages = await this.#read();
        const items = pages.flatMap((page) => page.items).reverse(); // Oldest first, as in a stream.
        const now = new Map(items.map((item) => [item.session_id, item.status]));
        const changes = items.map((data) => ({ event: this.#eventOf(data, isFirst), data }));
        let finished = 0;
        for (const id of [...this.#known.keys()].filter((id) => !now.has(id))) {
            const data = await this.#last(id);
            changes.push(data ? { event: eventOf(data.status), data } : { event: "session_removed", data: { session_id: id } });
            if (data && data.status !== "processed") now.set(id, data.status); // Retried since the list was read.
            else if (data) finished += 1;
        }
        const { processed } = pages[0];
        const isIncomplete = this.#processed !== null && processed !== this.#processed + finished;
        this.#pages = pages;
        this.#known = now;
        this.#processed = processed;
        return { changes, isIncomplete };
    }

    async #read() {
        const pages = [];
        let cursor = null;
        do {
            const path = `/api/sessions?status=${UNFINISHED}&limit=200${cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`}`;
            const old = this.#pages.find((page) => page.path === path);
            const answer = await this.#get(path, old?.etag ?? null);
            const page = answer === null ? old : parsePage(path, answer);
            pages.push(page);
            cursor = page.next;
        } while (cursor !== null);
        return pages;
    }

    #eventOf({ session_id: id, status }, isFirst) {
        const isRetried = this.#known.get(id) === "failed" && status !== "failed";
        return !isFirst && (isRetried || !this.#known.has(id)) ? "session_added" : eventOf(status);
    }

    /** The progress of a session that has left the list, or null if the user sees it no more. */
    async #last(id) {
        try {
            return JSON.parse((await this.#get(`/api/sessions/${id}/status`, null)).text);
        } catch (error) {
            const isGone = error.status === 404 || (error.status === 403 && !isInactive(error));
            if (error instanceof ApiError && isGone) return null;
            if (error instanceof SyntaxError) throw new ApiError(0, { detail: "The answer is not JSON." });
            throw error;
        }
    }
}

const UNFINISHED = "uploading,pending,preprocessing,transcribing,diarizing,transcribed,extracting_notes,failed";

const eventOf = (status) => status === "processed" ? "complete" : status === "failed" ? "error" : "progress";

function parsePage(path, { text, etag }) {
    try {
        const { items, next_cursor: next, counts } = JSON.parse(text);
        return { path, etag, items: items.map(({ progress }) => progress), next: next ?? null, processed: counts?.processed ?? null };
    } catch {
        // Something between us and the server, such as the sign-in of a WiFi, may answer in its place.
        throw new ApiError(0, { detail: "The answer is not a page of sessions." });
    }
}

/** An event of the WebSocket of all sessions, in the form of the stream. */
function unwrap(text) {
    try {
        const { event, id, data } = JSON.parse(text);
        return { event, id, data: JSON.stringify(data) };
    } catch {
        return { event: "", id: null, data: "" };
    }
}

// MARK: Uploads

const TUS = "1.0.0";
const FIRST_CHUNK = 1024 * 1024;
const MAX_CHUNK = 16 * 1024 * 1024;
/** Attempts without a new byte, after which an upload fails. With the back-off, this takes about ten minutes. */
const MAX_FAILURES = 24;

/** A resumable upload by the tus protocol. Made by TherapyBridge.upload(). */
export class Upload {
    #client;
    #file;
    #options;
    #location;
    #chunk;
    #adapts;
    #settle;
    /** The id of the session. It can be watched once the upload is created. */
    sessionId;
    /** Resolves with the session's id once the server has created the upload, or rejects as `stored` does. */
    created = new Promise((resolve, reject) => { this.#settle = { resolve, reject }; });
    /** The URL of the upload, or null. Keep it to continue after a reload of the page. */
    get location() { return this.#location; }
    /** Resolves with the session, or rejects with an ApiError or with the abort. */
    stored;

    constructor(client, file, options) {
        this.#client = client;
        this.#file = file;
        this.#options = options;
        this.#location = options.location ?? null;
        this.#chunk = options.chunkSize ?? FIRST_CHUNK;
        this.#adapts = options.chunkSize === undefined;
        this.sessionId = options.sessionId ?? randomUUID();
        this.stored = Promise.resolve().then(() => this.#run());
        this.stored.catch(this.#settle.reject);
        this.created.catch(() => {}); // A caller may await only one of the two.
    }

    async #run() {
        let offset = this.#location === null ? null : -1;
        let failures = 0;
        for (;;) {
            this.#options.signal?.throwIfAborted();
            try {
                if (offset === null) offset = await this.#create();
                else if (offset < 0) offset = await this.#ask();
                this.#settle.resolve(this.sessionId);
                this.#tell(offset);
                if (offset >= this.#file.size) return await this.#finished();
                offset = await this.#send(offset);
                failures = 0;
            } catch (error) {
                this.#options.signal?.throwIfAborted();
                const isMisplaced = error.status === 409 && this.#location !== null;
                const isRepeatable = error.isTemporary || error.status === 460 || isMisplaced;
                if (!(error instanceof ApiError) || !isRepeatable || ++failures > MAX_FAILURES) throw error;
                if (error.status === 0 && this.#adapts) this.#chunk = Math.max(64 * 1024, this.#chunk / 2);
                await pause(backOff(this.#options.retry ?? 1000, failures - 1, error.retryAfter), this.#options.signal);
                if (this.#location !== null) offset = -1;
            }
        }
    }

    /** Creates the upload. A repeat with the same session id continues an upload whose answer was lost. */
    async #create() {
        const { patientId, filename = this.#file.name, sessionDate, language } = this.#options;
        const metadata = {
            filename, patient_id: patientId, session_id: this.sessionId, session_date: sessionDate, language,
            filetype: this.#file.type,
        };
        const pairs = Object.entries(metadata).filter(([, value]) => value).map(([key, value]) => `${key} ${base64(value)}`);
        const response = await this.#request("POST", "/api/uploads", {
            "Upload-Length": String(this.#file.size), "Upload-Metadata": pairs.join(","),
        });
        const location = response.headers.get("Location");
        if (!location) throw new ApiError(response.status, { detail: "The answer has no Location that this page can read." });
        const base = new URL(this.#client.url("/"));
        const url = new URL(location, base);
        // A proxy may make an absolute URL of it. The token must not go to another host.
        if (url.host !== base.host) throw new ApiError(response.status, { detail: "The upload is on another host." });
        this.#location = base.origin + url.pathname;
        return Number(response.headers.get("Upload-Offset")) || 0;
    }

    async #ask() {
        const response = await this.#request("HEAD", this.#location);
        return this.#offset(response);
    }

    async #send(offset) {
        const part = this.#file.slice(offset, offset + this.#chunk);
        const body = await part.arrayBuffer();
        const headers = { "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(offset) };
        // Browsers have crypto.subtle on secure pages only.
        const subtle = this.#options.checksum === false ? null : globalThis.crypto?.subtle;
        if (subtle) headers["Upload-Checksum"] = `sha256 ${base64(await subtle.digest("SHA-256", body))}`;
        const startedAt = performance.now();
        const response = await this.#request("PATCH", this.#location, headers, body);
        const took = performance.now() - startedAt;
        if (this.#adapts && took < 2000) this.#chunk = Math.min(MAX_CHUNK, this.#chunk * 2);
        if (this.#adapts && took > 8000) this.#chunk = Math.max(64 * 1024, this.#chunk / 2);
        return this.#offset(response);
    }

    #offset(response) {
        const value = response.headers.get("Upload-Offset");
        if (!/^\d+$/.test(value ?? "")) throw new ApiError(0, { detail: "The answer has no Upload-Offset." });
        return Number(value);
    }

    async #finished() {
        return this.#client.request("GET", `/api/sessions/${this.sessionId}`, { signal: this.#options.signal });
    }

    /** A request of an upload. A network that is frozen, or slower than 16 kB a second, ends it. */
    async #request(method, path, headers = {}, raw = undefined) {
        const limit = 30_000 + (raw?.byteLength ?? 0) / 16;
        const watchdog = new Watchdog(limit, this.#options.signal);
        try {
            const response = await watchdog.guard(this.#client.authorised(method, path, {
                headers: { "Tus-Resumable": TUS, ...headers }, raw, signal: watchdog.signal,
            }));
            if (!response.ok) throw await errorFrom(response);
            return response;
        } catch (error) {
            if (error instanceof ApiError) throw error;
            throw new ApiError(0, { detail: "No answer came." });
        } finally {
            watchdog.stop();
        }
    }

    #tell(sent) {
        try {
            this.#options.onProgress?.({ sent, total: this.#file.size });
        } catch (error) {
            report(error);
        }
    }

    /** Ends the upload at the server: its session becomes `failed`. */
    async cancel() {
        if (this.#location !== null) await this.#request("DELETE", this.#location);
    }
}

function base64(value) {
    const bytes = typeof value === "string" ? new TextEncoder().encode(value) : new Uint8Array(value);
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return btoa(text);
}

/** Browsers have crypto.randomUUID() on secure pages only. */
function randomUUID() {
    if (crypto.randomUUID) return crypto.randomUUID();
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

// MARK: The client

/** A TherapyBridge server. Its options are described in client.d.ts. */
export class TherapyBridge {
    #fetch;

    constructor({ baseURL = "", tokens = null, fetch, EventSource, WebSocket } = {}) {
        this.baseURL = baseURL.replace(/\/+$/, "");
        this.#fetch = fetch ?? globalThis.fetch.bind(globalThis);
        this.EventSource = EventSource ?? globalThis.EventSource;
        this.WebSocket = WebSocket ?? globalThis.WebSocket;
        this.credentials = new Credentials(this, tokens);
    }

    /** The URL of a path of the API. A URL stays as it is. */
    url(path) {
        return /^https?:/.test(path) ? path : (this.baseURL || globalThis.location?.origin || "") + path;
    }

    /** One request, as it is. Throws an ApiError of status 0 if no answer came, and passes on an abort. */
    async send(method, path, { headers = {}, body, raw, signal, anonymous = false } = {}) {
        const init = { method, signal, cache: "no-store", headers: { Accept: "application/json, application/problem+json", ...headers } };
        this.credentials.apply(anonymous ? {} : init.headers, init);
        if (body !== undefined) {
            init.headers["Content-Type"] = "application/json";
            init.body = JSON.stringify(body);
        } else if (raw !== undefined) {
            init.body = raw;
        }
        try {
            return await this.#fetch(this.url(path), init);
        } catch (error) {
            if (signal?.aborted) throw error;
            throw new ApiError(0, { detail: "We cannot reach the server. Please check your connection." });
        }
    }

    /** One request. After a 401, refreshes the token once and sends the request again. */
    async authorised(method, path, options) {
        const mark = this.credentials.mark;
        const response = await this.send(method, path, options);
        if (response.status !== 401 || !await this.credentials.refresh(mark)) return response;
        return this.send(method, path, options);
    }

    /** The response itself, for its headers or a body that is not JSON. Throws an ApiError for any status above 299. */
    async response(method, path, options) {
        const response = await this.authorised(method, path, options);
        if (!response.ok) throw await errorFrom(response);
        return response;
    }

    /** The JSON of an answer, or null for an empty one. Throws an ApiError for any status above 299. */
    async request(method, path, options) {
        const text = await (await this.response(method, path, options)).text();
        return text === "" ? null : JSON.parse(text);
    }

    async signIn(email, password) {
        const response = await this.send("POST", "/api/auth/login", { body: { email, password }, anonymous: true });
        if (!response.ok) throw await errorFrom(response);
        const answer = await response.json();
        this.credentials.accept(answer);
        return answer.user;
    }

    async signOut() {
        const response = await this.send("POST", "/api/auth/logout");
        if (!response.ok) throw await errorFrom(response);
        this.credentials.forget();
    }

    me(options) { return this.request("GET", "/api/auth/me", options); }

    /** A page of sessions: `{items, next_cursor, …}`. The filter has the query parameters of the route. */
    sessions(filter = {}, options) {
        const pairs = Object.entries(filter).filter(([, value]) => value !== undefined && value !== null);
        const query = new URLSearchParams(pairs.map(([key, value]) => [key, String(value)]));
        return this.request("GET", `/api/sessions?${query}`, options);
    }

    session(id, options) { return this.request("GET", `/api/sessions/${id}`, options); }
    transcript(id, options) { return this.request("GET", `/api/sessions/${id}/transcript`, options); }
    retry(id, again = false) { return this.request("POST", `/api/sessions/${id}/retry`, { body: again ? { again } : {} }); }
    cancel(id) { return this.request("POST", `/api/sessions/${id}/cancel`); }
    delete(id) { return this.request("DELETE", `/api/sessions/${id}`); }

    /** Follows one session to its end. @returns {Watch} */
    watch(sessionId, options = {}) { return new Watch(this, sessionId, options); }

    /** Follows all sessions that the user may see, until you close it. @returns {Watch} */
    watchAll(options = {}) { return new Watch(this, null, options); }

    /** Uploads a File or Blob. @returns {Upload} */
    upload(file, options) { return new Upload(this, file, options); }
}
