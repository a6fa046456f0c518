/** Uploads from this page: one transfer at a time. The list shows each one from its start. */

import { ApiError, get, problemFrom, refresh, request, unreachable } from "./api.js";
import { announce, randomUUID } from "./dom.js";
import { byteSize, remaining } from "./words.js";

/**
 * The transfers from this page. The session in the store carries the state of each as `transfer`:
 * `{phase: "queued" | "sending" | "checking" | "failed", sent, total, remaining, error}`.
 */
export class Uploads {
    #store;
    /** @type {Map<string, {fields: object, file: File, xhr: XMLHttpRequest | null}>} */
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
        this.#jobs.set(id, { fields: { patient_id: patientId, session_date: date, session_id: id }, file, xhr: null });
        this.again(id);
        return id;
    }

    /** Sends a failed transfer again. The server recognizes the repeat by its session id. */
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
        if (job?.xhr) {
            job.xhr.abort();
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
        try {
            // The server checks the token at the start of the upload. This request refreshes it before 500 MB are sent.
            await get("/api/auth/me");
            const startedAt = Date.now();
            let answer = await this.#transfer(id);
            if (answer?.status === 401 && await refresh(startedAt)) answer = await this.#transfer(id);
            if (answer) this.#accept(id, answer);
        } catch (error) {
            await this.#settle(id, error instanceof ApiError ? error : unreachable());
        }
        this.#finished(id);
    }

    /** One POST. Resolves with its answer, or with null if it was cancelled. Throws without an answer. */
    #transfer(id) {
        const job = this.#jobs.get(id);
        if (!job) return null;
        const form = new FormData();
        for (const [name, value] of Object.entries(job.fields)) if (value) form.append(name, value);
        form.append("file", job.file); // the server needs it last
        const startedAt = performance.now();
        return new Promise((resolve, reject) => {
            const xhr = new XMLHttpRequest();
            job.xhr = xhr;
            xhr.open("POST", "/api/sessions/upload");
            xhr.setRequestHeader("Accept", "application/json, application/problem+json");
            xhr.upload.addEventListener("progress", (event) => {
                const rate = event.loaded / Math.max(1, performance.now() - startedAt);
                const left = Math.round((event.total - event.loaded) / rate / 1000);
                const phase = event.loaded < event.total ? "sending" : "checking";
                const { loaded: sent, total } = event;
                this.#store.setTransfer(id, { phase, sent, total, remaining: left, error: null });
            });
            xhr.addEventListener("load", () => resolve(xhr));
            xhr.addEventListener("abort", () => resolve(null));
            xhr.addEventListener("error", () => reject(unreachable()));
            xhr.send(form);
        });
    }

    #accept(id, xhr) {
        if (xhr.status !== 200 && xhr.status !== 201) {
            throw problemFrom(xhr.status, xhr.responseText, xhr.getResponseHeader("Retry-After"));
        }
        this.#jobs.delete(id);
        this.#store.setTransfer(id, undefined);
        this.#store.put(JSON.parse(xhr.responseText));
        announce("Upload finished.");
    }

    /**
     * Handles an error. The server reads a refused upload to its end, for the browser to see the answer. If the file is too
     * large or too slow for that, the browser reports a network error. An answer can also get lost after the upload.
     * Therefore this reads the session first.
     */
    async #settle(id, error) {
        const job = this.#jobs.get(id);
        if (!job) return; // the user cancelled it meanwhile
        if (error.status === 0) {
            try {
                const { progress } = await get(`/api/sessions/${id}`);
                if (!["uploading", "failed"].includes(progress.status) && !this.#isBare(progress)) {
                    this.#jobs.delete(id);
                    this.#store.setTransfer(id, undefined);
                    await this.#store.load(id);
                    return;
                }
                if (progress.error) error = new ApiError(409, progress.error);
            } catch {
                // The session does not exist, or there is no connection: the page shows the first error.
            }
        }
        job.xhr = null;
        const total = job.file.size;
        this.#store.setTransfer(id, { phase: "failed", sent: 0, total, remaining: null, error: error.message });
        announce(`Upload failed. ${error.message}`);
    }

    /** True if nothing of the recording has arrived. */
    #isBare(progress) {
        return progress.status === "pending" && progress.progress === 0;
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
