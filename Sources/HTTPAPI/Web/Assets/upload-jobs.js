/** Where the uploads of this browser are kept, files included, so that they go on after a reload. */

const TABLE = "jobs";
/** The largest file that is kept as bytes where the browser keeps no files. It is in memory once more meanwhile. */
const BYTES_LIMIT = 200_000_000;

/** An IndexedDB with one table. Without it, as in some private windows, uploads live as long as their tab. */
export class JobKeeper {
    #opening = null;

    #open() {
        this.#opening ??= new Promise((resolve) => {
            if (!globalThis.indexedDB) return resolve(null);
            const request = indexedDB.open("therapybridge-uploads", 1);
            request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: "id" });
            request.onsuccess = () => resolve(request.result);
            request.onerror = () => resolve(null);
            request.onblocked = () => resolve(null);
        });
        return this.#opening;
    }

    async #run(mode, work) {
        const database = await this.#open();
        if (!database) return null;
        return new Promise((resolve, reject) => {
            const transaction = database.transaction(TABLE, mode);
            const request = work(transaction.objectStore(TABLE));
            transaction.oncomplete = () => resolve(request.result);
            transaction.onerror = transaction.onabort = () => reject(transaction.error);
        });
    }

    /** Keeps a job. Returns false if the browser has no room for its file. */
    async put({ id, userId, patientId, patientName, date, language, name, size, file, location, addedAt }) {
        const kept = { id, userId, patientId, patientName, date, language, name, size, location, addedAt };
        if (await this.#store({ ...kept, file })) return true;
        if (size > BYTES_LIMIT || !file) return false;
        // The private windows of WebKit keep bytes, but no files.
        const bytes = await file.arrayBuffer().catch(() => null);
        return bytes !== null && this.#store({ ...kept, bytes, type: file.type });
    }

    async #store(row) {
        try {
            return await this.#run("readwrite", (table) => table.put(row)) !== null;
        } catch {
            return false;
        }
    }

    async delete(id) {
        await this.#run("readwrite", (table) => table.delete(id)).catch(() => {});
    }

    /** The jobs of a user, oldest first. Those of other users are forgotten. */
    async all(userId) {
        const kept = (await this.#run("readonly", (table) => table.getAll()).catch(() => null)) ?? [];
        await Promise.all(kept.filter((job) => job.userId !== userId).map((job) => this.delete(job.id)));
        const mine = kept.filter((job) => job.userId === userId).sort((a, b) => a.addedAt - b.addedAt);
        return mine.map(({ bytes, type, ...job }) => (bytes ? { ...job, file: new File([bytes], job.name, { type }) } : job));
    }

    async clear() {
        await this.#run("readwrite", (table) => table.clear()).catch(() => {});
    }
}
