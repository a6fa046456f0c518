/** The sessions that this page knows. One rule keeps them correct: the higher version wins. */

import { get } from "./api.js";
import { isUnfinished } from "./words.js";

const PAGE_SIZE = 20;

/**
 * The sessions by id. It dispatches `change` with the id as `detail`, or null if any session may have changed, and
 * `transition` with `{session, before}` if a status or attempt has changed.
 *
 * A session that this page uploads has `transfer`, the state of the upload; see `upload.js`.
 */
export class SessionStore extends EventTarget {
    #byId = new Map();
    /** The ids in the list. A session that was opened by its address may be older than all of them. */
    #listed = new Set();
    #pages = 0;
    nextCursor = null;

    get isLoaded() { return this.#pages > 0; }

    get(id) { return this.#byId.get(id); }

    /** The list, newest first. Uploads without an answer from the server come before all others. */
    list() {
        const rank = (session) => (session.isLocal ? "~" : "") + session.created_at + session.id;
        return [...this.#listed].map((id) => this.#byId.get(id)).sort((a, b) => (rank(a) < rank(b) ? 1 : -1));
    }

    /** The known sessions that are unfinished at the server, newest first. */
    unfinished() {
        return [...this.#byId.values()]
            .filter((session) => !session.isLocal && isUnfinished(session.progress.status))
            .sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
    }

    /** Reads the newest page again. A session that is missing from it was deleted, or the user has lost the right to it. */
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

    /** Reads the newest page again, and older sessions that are unfinished. */
    async resync() {
        const present = await this.loadNewest();
        const older = this.unfinished().filter((session) => !present.has(session.id)).slice(0, 10);
        await Promise.all(older.map((session) => this.load(session.id).catch((error) => {
            if (error.status === 403 || error.status === 404) this.remove(session.id);
        })));
    }

    /** Stores a session from the server, but keeps newer progress from the stream. */
    put(session, { listed = true, quiet = false } = {}) {
        const known = this.#byId.get(session.id);
        const progress = known && known.progress.version > session.progress.version ? known.progress : session.progress;
        const merged = { ...session, transfer: known?.transfer, progress };
        this.#byId.set(session.id, merged);
        if (listed) this.#listed.add(session.id);
        if (known) this.#noteTransition(merged, known.progress);
        if (!quiet) this.#changed(session.id);
    }

    /** Stores a progress object. Returns false if this page does not know its session. */
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

    /** Sets the state of an upload from this page, or removes it (undefined). */
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

    /** Removes everything, as at a sign-out. */
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
