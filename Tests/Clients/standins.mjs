/**
 * Stand-ins for what browsers have and Node.js 18 lacks: an EventSource that reconnects by itself, a WebSocket, and cookies.
 */

import crypto from "node:crypto";
import http from "node:http";

const realFetch = globalThis.fetch;

/** The cookies of a browser, as a header. */
const cookiesOf = (jar) => jar.size ? { Cookie: [...jar].map(([name, value]) => `${name}=${value}`).join("; ") } : {};

/**
 * Returns a fetch that keeps the server's cookies in a Map, as a browser does with `credentials: "include"`, and that names
 * the origin of the page.
 */
export function cookieFetch(jar, origin) {
    return async (url, init = {}) => {
        const headers = { ...init.headers, ...(init.credentials === "include" ? cookiesOf(jar) : {}) };
        if (origin && init.method !== "GET") headers.Origin = origin;
        const response = await realFetch(url, { ...init, headers });
        for (const [, name, value] of (response.headers.get("Set-Cookie") ?? "").matchAll(/(tb_\w+)=([^;,]*)/g)) jar.set(name, value);
        return response;
    };
}

/**
 * An EventSource after the HTML standard: it closes at any status but 200, else it reconnects with its last id after the
 * delay that the server named. Its parser is not that of client.js.
 */
export function eventSourceClass(jar, firstRetry) {
    return class extends EventTarget {
        readyState = 0;
        #url;
        #lastId = "";
        #retry = firstRetry;
        #abort = new AbortController();

        constructor(url) {
            super();
            this.#url = url;
            this.#connect();
        }

        close() {
            this.readyState = 2;
            this.#abort.abort();
        }

        async #connect() {
            const headers = { Accept: "text/event-stream", ...cookiesOf(jar) };
            if (this.#lastId) headers["Last-Event-ID"] = this.#lastId;
            try {
                const response = await realFetch(this.#url, { headers, signal: this.#abort.signal });
                if (response.status !== 200) {
                    this.readyState = 2;
                    this.dispatchEvent(new Event("error"));
                    return;
                }
                this.readyState = 1;
                this.dispatchEvent(new Event("open"));
                let text = "";
                const decoder = new TextDecoder();
                for await (const chunk of response.body) {
                    text += decoder.decode(chunk, { stream: true });
                    for (const line of text.matchAll(/^retry: (\d+)$/gm)) this.#retry = Number(line[1]);
                    const blocks = text.split("\n\n");
                    text = blocks.pop();
                    for (const block of blocks) this.#dispatch(block);
                    if (this.readyState === 2) return;
                }
            } catch {
                // The connection broke, or close() was called.
            }
            if (this.readyState === 2) return;
            this.readyState = 0;
            this.dispatchEvent(new Event("error"));
            setTimeout(() => { if (this.readyState === 0) this.#connect(); }, this.#retry);
        }

        #dispatch(block) {
            const fields = new Map(block.split("\n").map((line) => {
                const [, name, value] = /^([^:]*): ?(.*)$/s.exec(line) ?? [null, line, ""];
                return [name, value];
            }));
            if (fields.has("id")) this.#lastId = fields.get("id");
            if (!fields.has("data") || this.readyState === 2) return;
            const event = new Event(fields.get("event") ?? "message");
            Object.assign(event, { data: fields.get("data"), lastEventId: this.#lastId });
            this.dispatchEvent(event);
        }
    };
}

/** A WebSocket that reads text frames and Close frames. */
export function webSocketClass(jar, origin) {
    return class extends EventTarget {
        #socket = null;
        #rest = Buffer.alloc(0);
        #parts = [];
        #isClosed = false;

        constructor(url) {
            super();
            const headers = {
                Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": crypto.randomBytes(16).toString("base64"), ...cookiesOf(jar),
                ...(origin ? { Origin: origin } : {}),
            };
            const request = http.get(url.replace(/^ws/, "http"), { headers, agent: false });
            request.on("error", () => this.#closed(1006));
            request.on("response", () => this.#closed(1006));
            request.on("upgrade", (response, socket, head) => {
                this.#socket = socket;
                socket.on("error", () => this.#closed(1006));
                socket.on("close", () => this.#closed(1006));
                socket.on("data", (data) => this.#read(data));
                this.dispatchEvent(new Event("open"));
                this.#read(head);
            });
        }

        close() {
            this.#isClosed = true;
            this.#socket?.destroy();
        }

        #read(data) {
            this.#rest = Buffer.concat([this.#rest, data]);
            while (this.#rest.length >= 2) {
                const [first, size] = this.#rest;
                const head = size === 127 ? 10 : size === 126 ? 4 : 2;
                if (this.#rest.length < head) return;
                const length = size === 127 ? Number(this.#rest.readBigUInt64BE(2)) : size === 126 ? this.#rest.readUInt16BE(2) : size;
                if (this.#rest.length < head + length) return;
                const payload = this.#rest.subarray(head, head + length);
                this.#rest = this.#rest.subarray(head + length);
                this.#take(first & 0x0f, payload, (first & 0x80) !== 0);
            }
        }

        #take(opcode, payload, isLast) {
            if (opcode === 8) {
                this.#closed(payload.readUInt16BE(0), payload.subarray(2).toString());
            } else if (opcode === 9) {
                const mask = crypto.randomBytes(4);
                const masked = payload.map((byte, index) => byte ^ mask[index % 4]);
                this.#socket.write(Buffer.concat([Buffer.from([0x8a, 0x80 | payload.length]), mask, masked]));
            } else if (opcode < 2) {
                this.#parts.push(payload);
                if (!isLast) return;
                const data = Buffer.concat(this.#parts).toString();
                this.#parts = [];
                this.dispatchEvent(Object.assign(new Event("message"), { data }));
            }
        }

        #closed(code, reason = "") {
            if (this.#isClosed) return;
            this.#isClosed = true;
            this.#socket?.destroy();
            this.dispatchEvent(Object.assign(new Event("close"), { code, reason }));
        }
    };
}

/**
 * A fetch that holds a page of `origin` to the rules of CORS (https://fetch.spec.whatwg.org/#http-cors-protocol): it sends
 * preflights, refuses answers without the right headers, and hides the headers that the server does not expose.
 */
export function corsFetch(origin) {
    const simple = ["accept", "accept-language", "content-language"];
    const readable = ["cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma"];
    const words = (response, name) => (response.headers.get(name) ?? "").toLowerCase().split(",").map((word) => word.trim());
    return async (url, init = {}) => {
        const method = init.method ?? "GET";
        const isAllowed = (response) => {
            const allowed = response.headers.get("Access-Control-Allow-Origin");
            const needsCredentials = init.credentials === "include";
            return allowed === origin && (!needsCredentials || response.headers.get("Access-Control-Allow-Credentials") === "true");
        };
        const names = Object.keys(init.headers ?? {}).map((name) => name.toLowerCase()).filter((name) => !simple.includes(name)).sort();
        if (names.length || !["GET", "HEAD", "POST"].includes(method)) {
            const asked = { Origin: origin, "Access-Control-Request-Method": method };
            if (names.length) asked["Access-Control-Request-Headers"] = names.join(",");
            const preflight = await realFetch(url, { method: "OPTIONS", headers: asked });
            const isMethodAllowed = words(preflight, "Access-Control-Allow-Methods").includes(method.toLowerCase());
            const areNamesAllowed = names.every((name) => words(preflight, "Access-Control-Allow-Headers").includes(name));
            if (!preflight.ok || !isAllowed(preflight) || !isMethodAllowed || !areNamesAllowed) {
                throw new TypeError(`CORS: the preflight of ${method} ${url} failed`);
            }
        }
        const response = await realFetch(url, { ...init, headers: { ...init.headers, Origin: origin } });
        if (!isAllowed(response)) throw new TypeError(`CORS: the answer to ${method} ${url} does not allow ${origin}`);
        const exposed = words(response, "Access-Control-Expose-Headers");
        const headers = { get: (name) => [...readable, ...exposed].includes(name.toLowerCase()) ? response.headers.get(name) : null };
        return new Proxy(response, {
            get: (target, key) => {
                if (key === "headers") return headers;
                const value = Reflect.get(target, key, target);
                return typeof value === "function" ? value.bind(target) : value;
            },
        });
    };
}

/** Installs what the tabs of a browser share: localStorage and Web Locks. */
export function installTabs() {
    const items = new Map();
    globalThis.localStorage = {
        getItem: (key) => items.get(key) ?? null, setItem: (key, value) => items.set(key, value), removeItem: (key) => items.delete(key),
    };
    const queues = new Map();
    const request = (name, work) => {
        const result = (queues.get(name) ?? Promise.resolve()).then(work);
        queues.set(name, result.catch(() => {}));
        return result;
    };
    Object.defineProperty(globalThis, "navigator", { value: { locks: { request } }, configurable: true });
}

/** A recording: a second of silence. */
export function wave() {
    const header = Buffer.alloc(44);
    header.write("RIFF");
    header.writeUInt32LE(36 + 16_000, 4);
    header.write("WAVEfmt ", 8);
    header.writeUInt32LE(16, 16);
    header.writeUInt16LE(1, 20);
    header.writeUInt16LE(1, 22);
    header.writeUInt32LE(8000, 24);
    header.writeUInt32LE(16_000, 28);
    header.writeUInt16LE(2, 32);
    header.writeUInt16LE(16, 34);
    header.write("data", 36);
    header.writeUInt32LE(16_000, 40);
    return Buffer.concat([header, Buffer.alloc(16_000)]);
}
