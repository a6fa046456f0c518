/** The tabs of one browser: they talk by a BroadcastChannel, and choose one of them by a Web Lock. */

/** Messages between tabs. Without a BroadcastChannel, a tab is alone. */
export class Tabs {
    #channel = globalThis.BroadcastChannel ? new BroadcastChannel("therapybridge") : null;
    #handlers = new Map();

    constructor() {
        // A channel that nobody closes would keep Node.js running.
        this.#channel?.unref?.();
        if (this.#channel) this.#channel.onmessage = ({ data }) => this.#handlers.get(data.type)?.(data);
    }

    /** Calls `handler` with each message of this type from the other tabs. */
    on(type, handler) { this.#handlers.set(type, handler); }

    /** Sends a message to the other tabs. */
    post(type, data = {}) { this.#channel?.postMessage({ type, ...data }); }
}

/**
 * The part of one tab: it waits for its turn, calls `begin`, and keeps the part until `resign()`, until the tab closes, or
 * until another tab takes it. Without Web Locks, each tab has the part.
 */
export class Leadership {
    #name;
    #begin;
    #end;
    #waiting = null;
    #release = null;
    isLeader = false;

    /** @param {() => void} begin @param {() => void} end is called if another tab has taken the part */
    constructor(name, begin, end = () => {}) {
        this.#name = name;
        this.#begin = begin;
        this.#end = end;
        // WebKitGTK keeps the lock of a page that was reloaded while it sent something.
        globalThis.addEventListener?.("pagehide", () => this.resign());
    }

    /** Asks for the part. `steal` takes it from a tab that does not do its work. */
    async run({ steal = false } = {}) {
        const locks = globalThis.navigator?.locks;
        if (!locks) {
            this.isLeader = true;
            this.#begin();
            return;
        }
        this.#waiting?.abort();
        const waiting = new AbortController();
        this.#waiting = waiting;
        const options = steal ? { steal } : { signal: waiting.signal };
        try {
            await locks.request(this.#name, options, () => {
                if (waiting.signal.aborted) return undefined;
                this.isLeader = true;
                this.#begin();
                return new Promise((resolve) => { this.#release = resolve; });
            });
        } catch {
            if (waiting.signal.aborted) return;
            this.isLeader = false;
            this.#end();
            this.run(); // waits for the next turn
        }
    }

    resign() {
        this.#waiting?.abort();
        this.#waiting = null;
        this.#release?.();
        this.#release = null;
        this.isLeader = false;
    }
}
