/** The sessions that this page knows, and the one rule that keeps them right: the higher version wins. */

import { get } from "./api.js";
import { isUnfinished } from "./words.js";

const PAGE_SIZE = 20;

/**
 * Sessions by id. Dispatches `change` with the id (or null for "all may differ") as `detail`, and `transition` with
 * `{session, before}` when a status or attempt has changed.
 *
 * A session of this page may carry `transfer`, the state of its upload from here; see `upload.js`.
 */
export class SessionStore extends EventTarget {
    #byId = new Map();
    /** Ids that belong to the list; a session opened by its address may be older than all that were listed. */
    #listed = new Set();
    #pages = 0;
    nextCursor = null;

    get isLoaded() { return this.#pages > 0; }

    get(id) { return this.#byId.get(id); }

    /** The list, newest first; uploads that the server has not answered yet lead. */
    list() {
        const rank = (session) => (session.isLocal ? "~" : "") + session.created_at + session.id;
        return [...this.#listed].map((id) => this.#byId.get(id)).sort((a, b) => (rank(a) < rank(b) ? 1 : -1));
    }

    /** Known sessions that are still under way at the server, newest first. */
    unfinished() {
        return [...this.#byId.values()]
            .filter((session) => !session.isLocal && isUnfinished(session.progress.status))
            .sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
    }

    /** Reads the newest page again. What should be on it and is not has been deleted or taken away. */
    async loadNewest() {
        const page = await get(`/api/sessions?limit=${PAGE_SIZE}`);
        const present = new Set(page.items.map((session) => session.id));
        const oldest = page.next_cursor ? page.items.at(-1)?.created_at ?? "" : "";
        for (const session of this.list()) {
            const belongs = session.created_at > oldest;
            if (belongs && !present.has(session.id) && !session.transfer) this.#forget(session.id);
        }
        for (const session of page.items) this.put(session, { quiet: true });
        if (this.#pages <= 1) {
            this.#pages = 1;
            this.nextCursor = page.next_cursor;
        }
        this.#changed(null);
        return present;
    }

    /** Appends the next older page. */
    async loadOlder() {
        if (!this.nextCursor) return;
        const page = await get(`/api/sessions?limit=${PAGE_SIZE}&cursor=${encodeURIComponent(this.nextCursor)}`);
        for (const session of page.items) this.put(session, { quiet: true });
        this.#pages += 1;
        this.nextCursor = page.next_cursor;
        this.#changed(null);
    }

    /** Reads one session, whether it is in the list or not. */
    async load(id) {
        const session = await get(`/api/sessions/${id}`);
        this.put(session, { listed: this.#listed.has(id) });
        return this.get(id);
    }

    /** Catches up after a silence: the newest page, and what is under way but older than that. */
    async resync() {
        const present = await this.loadNewest();
        const older = this.unfinished().filter((session) => !present.has(session.id)).slice(0, 10);
        await Promise.all(older.map((session) => this.load(session.id).catch((error) => {
            if (error.status === 403 || error.status === 404) this.remove(session.id);
        })));
    }

    /** Takes in a session as the server tells it, keeping newer progress that a stream brought already. */
    put(session, { listed = true, quiet = false } = {}) {
        const known = this.#byId.get(session.id);
        const progress = known && known.progress.version > session.progress.version ? known.progress : session.progress;
        const merged = { ...session, transfer: known?.transfer, progress };
        this.#byId.set(session.id, merged);
        if (listed) this.#listed.add(session.id);
        if (known) this.#noteTransition(merged, known.progress);
        if (!quiet) this.#changed(session.id);
    }

    /** Takes in a progress object. False when its session is not known here. */
    applyProgress(progress) {
        const known = this.#byId.get(progress.session_id);
        if (!known) return false;
        if (progress.version <= known.progress.version) return true;
        const session = { ...known, progress };
        this.#byId.set(session.id, session);
        this.#noteTransition(session, known.progress);
        this.#changed(session.id);
        return true;
    }

    /** Sets or ends (undefined) the state of an upload from this page. */
    setTransfer(id, transfer) {
        const known = this.#byId.get(id);
        if (!known) return;
        this.#byId.set(id, { ...known, transfer });
        this.#changed(id);
    }

    remove(id) {
        if (!this.#byId.has(id)) return;
        this.#forget(id);
        this.#changed(null);
    }

    /** Forgets everything, as on signing out. */
    clear() {
        this.#byId.clear();
        this.#listed.clear();
        this.#pages = 0;
        this.nextCursor = null;
    }

    #forget(id) {
        this.#byId.delete(id);
        this.#listed.delete(id);
    }

    #noteTransition(session, before) {
        const { status, attempt } = session.progress;
        if (status === before.status && attempt === before.attempt) return;
        this.dispatchEvent(new CustomEvent("transition", { detail: { session, before } }));
    }

    #changed(id) {
        this.dispatchEvent(new CustomEvent("change", { detail: id }));
    }
}
