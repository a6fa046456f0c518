/** Uploads from this page: one transfer at a time. The list shows each one from its start. */

import { ApiError, authorised, bridge, request } from "./api.js";
import { announce, randomUUID } from "./dom.js";
import { byteSize, remaining } from "./words.js";

/**
 * The transfers from this page. The session in the store carries the state of each as `transfer`:
 * `{phase: "queued" | "sending" | "checking" | "failed", sent, total, remaining, error}`.
 */
export class Uploads {
    #store;
    /** @type {Map<string, {options: object, file: File, abort: AbortController | null}>} */
    #jobs = new Map();
    /** True if the user may delete sessions. */
    mayDelete = false;
    /** The transfer that runs. Browsers allow six connections per origin, and parallel transfers would not be faster. */
    #current = null;

    /** @param {import("./store.js").SessionStore} store */
    constructor(store) {
        this.#store = store;
        window.addEventListener("beforeunload", (event) => { if (this.isBusy) event.preventDefault(); });
    }

    get isBusy() { return this.#current !== null; }

    /** Shows the new session at once, under an id that the page chooses, and sends the file. */
    add({ patientId, date, file }) {
        const id = randomUUID();
        const now = new Date().toISOString();
        this.#store.put({
            id, patient_id: patientId, therapist_id: null, session_date: date ?? now, created_at: now,
            filename: file.name, bytes: file.size, duration_seconds: null, isLocal: true,
            progress: {
                session_id: id, status: "uploading", progress: 0, message: null, error: null,
                estimated_time_remaining: null, version: 0, attempt: 1, created_at: now, updated_at: now,
            },
        });
        this.#jobs.set(id, { options: { patientId, sessionDate: date ?? undefined, sessionId: id }, file, abort: null });
        this.again(id);
        return id;
    }

    /** Sends a failed transfer again. The server recognizes it by its session id, and keeps what has arrived. */
    again(id) {
        const job = this.#jobs.get(id);
        if (!job) return;
        this.#store.setTransfer(id, { phase: "queued", sent: 0, total: job.file.size, remaining: null, error: null });
        this.#next();
    }

    /**
     * Stops a transfer, or removes a failed one from the list. If the user may delete sessions, the server deletes the
     * session of a stopped transfer. The session of a failed one stays, because its recording may have arrived.
     */
    cancel(id) {
        const job = this.#jobs.get(id);
        this.#jobs.delete(id);
        if (job?.abort) {
            job.abort.abort();
            if (this.mayDelete) request("DELETE", `/api/sessions/${id}`).catch(() => {});
        }
        this.#store.setTransfer(id, undefined);
        this.#store.remove(id);
        this.#finished(id);
    }

    cancelAll() {
        for (const id of [...this.#jobs.keys()]) this.cancel(id);
    }

    #next() {
        if (this.#current !== null) return;
        const queued = [...this.#jobs.keys()].find((id) => this.#store.get(id)?.transfer?.phase === "queued");
        if (queued) this.#send(queued);
    }

    async #send(id) {
        this.#current = id;
        const job = this.#jobs.get(id);
        const abort = new AbortController();
        job.abort = abort;
        const startedAt = performance.now();
        let startedFrom = null;
        const onProgress = ({ sent, total }) => {
            if (!this.#jobs.has(id)) return;
            startedFrom ??= sent; // A transfer that is sent again continues where the last one ended.
            const rate = (sent - startedFrom) / Math.max(1, performance.now() - startedAt);
            const left = rate > 0 ? Math.round((total - sent) / rate / 1000) : null;
            const phase = sent < total ? "sending" : "checking";
            this.#store.setTransfer(id, { phase, sent, total, remaining: left, error: null });
        };
        try {
            const upload = bridge.upload(job.file, { ...job.options, signal: abort.signal, onProgress });
            this.#accept(id, await authorised(() => upload.stored));
        } catch (error) {
            this.#failed(id, error);
        }
        this.#finished(id);
    }

    #accept(id, session) {
        if (!this.#jobs.delete(id)) return; // the user cancelled it meanwhile
        this.#store.setTransfer(id, undefined);
        this.#store.put(session);
        announce("Upload finished.");
    }

    #failed(id, error) {
        const job = this.#jobs.get(id);
        if (!job) return; // the user cancelled it meanwhile
        job.abort = null;
        const words = error instanceof ApiError ? error.message : "The browser cannot read the file.";
        this.#store.setTransfer(id, { phase: "failed", sent: 0, total: job.file.size, remaining: null, error: words });
        announce(`Upload failed. ${words}`);
    }

    #finished(id) {
        if (this.#current !== id) return;
        this.#current = null;
        this.#next();
    }
}

/** The bar and the words of a transfer. The upload is the first fifth of the bar, which ends at `processed`. */
export function transferWords(transfer) {
    const share = transfer.total ? transfer.sent / transfer.total : 0;
    const value = share * 20;
    switch (transfer.phase) {
    case "queued": return { value: 0, message: "Waiting for another upload to finish", figures: byteSize(transfer.total) };
    case "checking": return { value: 20, message: "The server is checking the recording", figures: "" };
    case "failed": return { value: 0, message: "", figures: "" };
    default: return {
        value,
        message: `Uploading, ${Math.floor(share * 100)} % of ${byteSize(transfer.total)}`,
        figures: share > 0 ? remaining(transfer.remaining) : "",
    };
    }
}
