/** The list of sessions. It updates rows in place, which keeps the focus and moves the bars smoothly. */

import { announce, fromTemplate, setText, showText } from "./dom.js";
import { transferWords } from "./upload.js";
import { activity, byteSize, dateTime, isUnfinished, remaining, statusWords, timecode } from "./words.js";

/** The words beside the heading for each state of the connection. */
const LIVE_WORDS = {
    connecting: "Connecting …",
    live: "Live",
    reconnecting: "Reconnecting …",
    degraded: "Updates are delayed",
};

export class ListView {
    #app;
    #rows = new Map();
    #part;
    root;

    /** @param {import("./app.js").App} app */
    constructor(app) {
        this.#app = app;
        const { root, part } = fromTemplate("list-view");
        this.root = root;
        this.#part = part;
        part.emptyUpload.hidden = !app.uploadDialog.isAllowed;
        for (const button of [part.upload, part.emptyUpload]) {
            button.addEventListener("click", () => app.uploadDialog.open());
        }
        part.older.addEventListener("click", () => this.#showOlder());
        part.reload.addEventListener("click", () => this.#load());
        setText(part.heading, app.user.role === "patient" ? "Your sessions" : "Sessions");
        setText(part.emptyHint, this.#emptyHint());
        this.update(null);
        if (!app.store.isLoaded) this.#load();
    }

    get title() { return "Sessions"; }
    get heading() { return this.#part.heading; }

    connectionChanged(state) {
        this.#part.live.dataset.state = state;
        setText(this.#part.liveText, LIVE_WORDS[state]);
    }

    /** Updates one row, or all rows (null), from the store. */
    update(id) {
        const { store } = this.#app;
        const session = id && store.get(id);
        if (session && this.#rows.has(id)) {
            fillRow(this.#rows.get(id).part, session, this.#app);
            return;
        }
        const sessions = store.list();
        const isReady = store.isLoaded || sessions.length > 0;
        this.#part.skeleton.hidden = isReady || !this.#part.error.hidden;
        this.#part.items.hidden = sessions.length === 0;
        this.#part.empty.hidden = !store.isLoaded || sessions.length > 0;
        this.#part.upload.hidden = !this.#part.empty.hidden || !this.#app.uploadDialog.isAllowed;
        this.#part.older.hidden = !store.nextCursor;
        for (const [known, row] of this.#rows) {
            if (store.get(known)) continue;
            row.root.remove();
            this.#rows.delete(known);
        }
        sessions.forEach((item, index) => this.#putRow(item, index));
    }

    #putRow(session, index) {
        let row = this.#rows.get(session.id);
        if (!row) {
            row = fromTemplate("session-row");
            row.part.again.addEventListener("click", () => this.#app.uploads.again(session.id));
            row.part.cancel.addEventListener("click", () => {
                this.#app.uploads.cancel(session.id);
                announce("Upload cancelled.");
                this.#part.heading.focus();
            });
            this.#rows.set(session.id, row);
        }
        fillRow(row.part, session, this.#app);
        const present = this.#part.items.children[index];
        if (present !== row.root) this.#part.items.insertBefore(row.root, present ?? null);
    }

    async #load() {
        this.#part.error.hidden = true;
        this.#part.skeleton.hidden = this.#app.store.isLoaded;
        try {
            await this.#app.store.loadNewest();
        } catch (error) {
            if (error.status === 401) return;
            this.#part.skeleton.hidden = true;
            this.#part.error.hidden = false;
            setText(this.#part.errorText, error.message);
        }
    }

    async #showOlder() {
        this.#part.older.disabled = true;
        const before = this.#app.store.list().length;
        try {
            await this.#app.store.loadOlder();
            this.#part.items.children[before]?.querySelector("a")?.focus();
        } catch (error) {
            this.#app.complain(error);
        }
        this.#part.older.disabled = false;
    }

    #emptyHint() {
        switch (this.#app.user.role) {
        case "patient": return "Upload the recording of a session, follow its progress, and read the transcript here.";
        case "pipeline": return "This account reports progress of the pipeline. It sees no sessions.";
        default: return "Upload a recording, or drop it anywhere on this page. You can follow its progress here.";
        }
    }
}

/** Fills the row of a session. */
function fillRow(part, session, app) {
    const { progress, transfer } = session;
    const hasFailedHere = transfer?.phase === "failed";
    // A second upload may run while the server still shows that the first one failed.
    const status = transfer ? "uploading" : progress.status;
    const words = hasFailedHere ? { label: "Upload failed", tone: "failed" } : statusWords(status);
    const name = app.sessionName(session);
    setText(part.link, name);
    part.link.href = session.isLocal ? "#/" : `#/sessions/${session.id}`;
    setText(part.status, words.label);
    part.chip.dataset.tone = words.tone;
    setText(part.meta, rowFacts(session, app).join(" · "));

    const isMoving = transfer ? !hasFailedHere : isUnfinished(progress.status);
    part.progressBlock.hidden = !isMoving;
    if (isMoving) {
        const shown = transfer ? transferWords(transfer) : {
            value: progress.progress,
            message: activity(session),
            figures: [`${progress.progress} %`, remaining(progress.estimated_time_remaining)]
                .filter(Boolean).join(" · "),
        };
        part.bar.value = shown.value;
        part.bar.setAttribute("aria-label", `Progress of ${name}`);
        setText(part.message, shown.message);
        setText(part.figures, shown.figures);
    }
    showText(part.error, transfer?.error ?? (status === "failed" ? progress.error : ""));
    part.actions.hidden = !transfer || transfer.phase === "checking";
    part.again.hidden = !hasFailedHere;
    setText(part.cancel, hasFailedHere ? "Dismiss" : "Cancel upload");
}

/** The second line of a row: the known facts besides the name. */
function rowFacts(session, app) {
    const facts = [];
    if (app.user.role !== "patient") facts.push(dateTime(session.session_date));
    if (session.filename) facts.push(session.filename);
    if (session.duration_seconds) facts.push(timecode(session.duration_seconds));
    else if (session.bytes) facts.push(byteSize(session.bytes));
    return facts.filter(Boolean);
}
