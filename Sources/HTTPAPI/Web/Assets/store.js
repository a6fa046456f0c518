/** The sessions that this page knows. One rule keeps them correct: the higher version wins. */

import { get, getAll } from "./api.js";
import { isUnfinished } from "./words.js";

/** The statuses of sessions that somebody waits for. A newer server may have more: the stream tells of them. */
export const UNFINISHED = "uploading,pending,preprocessing,transcribing,diarizing,transcribed,extracting_notes";

/**
 * The sessions by id. It dispatches `change` with the id as `detail`, or null if any session may have changed, and
 * `transition` with `{session, before}` if a status or attempt has changed.
 */
export class SessionStore extends EventTarget {
    #byId = new Map();
    /** True once all unfinished and failed sessions are here. */
    isLoaded = false;
    /** The pages of the list that were read, by their question, so that Back shows them at once. */
    pages = new Map();

    get(id) { return this.#byId.get(id); }

    /** All unfinished sessions, newest first. */
    unfinished() { return this.#sorted((status) => isUnfinished(status)); }

    /** All failed sessions, newest first. */
    failed() { return this.#sorted((status) => status === "failed"); }

    #sorted(isWanted) {
        return [...this.#byId.values()].filter((session) => isWanted(session.progress.status))
            .sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
    }

    /**
     * Reads all unfinished and failed sessions again. One that is missing from both was finished or deleted meanwhile, or the
     * user has lost the right to it.
     */
    async resync() {
        const asked = this.#open();
        const [unfinished, failed] = await Promise.all([
            getAll(`/api/sessions?status=${UNFINISHED}`), getAll("/api/sessions?status=failed"),
        ]);
        const present = new Set([...unfinished, ...failed].map((session) => session.id));
        for (const session of [...unfinished, ...failed]) this.put(session, { quiet: true });
        this.isLoaded = true;
        this.#changed(null);
        const missing = [...asked].filter(([id, version]) => !present.has(id) && this.get(id)?.progress.version === version);
        await Promise.all(missing.map(([id]) => this.load(id).catch((error) => {
            if (error.status === 403 || error.status === 404) this.remove(id);
        })));
    }

    #open() {
        return new Map([...this.unfinished(), ...this.failed()].map(({ id, progress }) => [id, progress.version]));
    }

    /** Reads one session. */
    async load(id, options) {
        const session = await get(`/api/sessions/${id}`, options);
        this.put(session);
        return this.get(id);
    }

    /** Stores a session from the server, but keeps newer progress from the stream. */
    put(session, { quiet = false } = {}) {
        const known = this.#byId.get(session.id);
        const progress = known && known.progress.version > session.progress.version ? known.progress : session.progress;
        const merged = { ...session, progress };
        this.#byId.set(session.id, merged);
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

    remove(id) {
        if (!this.#byId.delete(id)) return;
        this.dispatchEvent(new CustomEvent("removed", { detail: id }));
        this.#changed(null);
    }

    /** Removes everything, as at a sign-out. */
    clear() {
        this.#byId.clear();
        this.pages.clear();
        this.isLoaded = false;
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
