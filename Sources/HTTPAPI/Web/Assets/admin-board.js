/** The live board: what the server does at this moment. For administrators. */

import { fill, h, setText } from "./dom.js";
import { parseMetrics } from "./prometheus.js";
import { ago, byteSize, dateTime, duration, failureWords, number, percent, statusWords, t } from "./words.js";

/** How often the figures are read, in milliseconds. */
const INTERVAL = 5_000;
/** The statuses of the queue and of the work, in their order. */
const STATUSES = ["uploading", "pending", "preprocessing", "transcribing", "diarizing", "transcribed", "extracting_notes"];

export async function mount(root, context) {
    await context.loadWords("admin-words");
    context.title(t("nav.board"));
    const age = h("p.muted", { role: "status" });
    const trouble = h("div");
    const queue = new Tiles();
    const server = new Tiles();
    const worker = new Tiles();
    const failures = h("tbody");
    const table = h("table.table", h("thead", h("tr", ["at", "patient", "reason"].map((name) => h("th", { scope: "col" }, t(`board.failure.${name}`))))), failures);
    const none = h("p.muted", t("board.failures.none"));
    fill(root, h("div.view-head", h("div", h("h1", { tabIndex: -1 }, t("nav.board")), age)), trouble,
        section(t("board.sessions"), "", queue.root), section(t("board.server"), t("board.server.hint"), server.root),
        section(t("board.worker"), t("board.worker.hint"), worker.root), section(t("board.failures"), "", table, none));

    let before = null;
    let timer = 0;
    let readAt = 0;
    const read = async () => {
        const { signal } = context;
        const [text, sessions, failed] = await Promise.all([
            context.fetchRaw("GET", "/metrics", { headers: { Accept: "text/plain" }, signal }).then((response) => response.text()),
            context.get("/api/sessions?limit=1", { signal }), context.get("/api/sessions?status=failed&limit=10", { signal }),
        ]);
        const metrics = parseMetrics(text);
        queue.show(queueFigures(sessions.counts));
        server.show(serverFigures(metrics, before));
        worker.show(workerFigures(metrics));
        fill(trouble, troubles(metrics).map((words) => h("p.notice.warning", { role: "alert" }, words)));
        fill(failures, failed.items.map(failureRow));
        table.hidden = failed.items.length === 0;
        none.hidden = !table.hidden;
        before = metrics;
        readAt = Date.now();
        setText(age, t("board.age", { at: ago(new Date(readAt).toISOString()) }));
    };
    const tick = async () => {
        if (!document.hidden) {
            try {
                await read();
            } catch (error) {
                if (context.signal.aborted) return;
                // The figures stay, and say how old they are.
                setText(age, t("board.stale", { at: dateTime(new Date(readAt).toISOString()) }));
                if (!error.isTemporary) context.fail(error);
            }
        }
        if (!context.signal.aborted) timer = setTimeout(tick, INTERVAL);
    };
    await read();
    timer = setTimeout(tick, INTERVAL);
    return { close: () => clearTimeout(timer) };
}

const section = (title, hint, ...content) => h("section.block", h("h2", title), hint && h("p.hint", hint), content);

/** Tiles that keep their elements: only the figures change. */
class Tiles {
    root = h("ul.tiles");
    #tiles = new Map();

    /** Shows figures: `[key, label, text, tone?]`. */
    show(figures) {
        for (const [key, label, text, tone = ""] of figures) {
            let tile = this.#tiles.get(key);
            if (!tile) {
                const value = h("strong");
                tile = { root: h("li.tile", { "data-figure": key }, value, h("span", label)), value };
                this.#tiles.set(key, tile);
                this.root.append(tile.root);
            }
            tile.root.dataset.tone = tone;
            setText(tile.value, text);
        }
    }
}

const orNone = (value, words = number) => (value === null || value === undefined ? "–" : words(value));
const milliseconds = (seconds) => (seconds === Infinity ? "> 2 h" : seconds < 1 ? t("board.ms", { n: Math.round(seconds * 1e6) / 1e3 }) : duration(seconds));

function queueFigures(counts) {
    return [
        ...STATUSES.map((status) => [status, statusWords(status).label, number(counts[status] ?? 0)]),
        ["processed", statusWords("processed").label, number(counts.processed ?? 0)],
        ["failed", statusWords("failed").label, number(counts.failed ?? 0), counts.failed ? "failed" : ""],
    ];
}

function serverFigures(metrics, before) {
    const sum = (name, labels) => metrics.sum(`therapybridge_${name}`, labels);
    // A server that polls alone (CHANGE_SOURCE) has no listener.
    const listener = { 1: "live", 0: "lost" }[sum("listener_live")] ?? "off";
    const requests = "therapybridge_http_request_duration_seconds";
    const since = before && metrics.quantile(requests, 0.5, {}, before) !== null ? before : null;
    const started = sum("process_start_time_seconds");
    return [
        ["streams", t("board.streams"), orNone(sum("streams_open"))],
        ["listener", t("board.listener"), t(`board.listener.${listener}`), { live: "done", lost: "failed", off: "" }[listener]],
        ["median", t("board.median"), orNone(metrics.quantile(requests, 0.5, {}, since), milliseconds)],
        ["p99", t("board.p99"), orNone(metrics.quantile(requests, 0.99, {}, since), milliseconds)],
        ["missed", t("board.missed"), orNone(sum("backstop_delivered_total"))],
        ["pool", t("board.pool"), `${orNone(sum("pool_connections", { state: "leased" }))} / ${orNone(sum("pool_max_connections"))}`],
        ["waiting", t("board.waiting"), orNone(sum("pool_waiting"))],
        ["memory", t("board.memory"), orNone(sum("process_resident_memory_bytes"), byteSize)],
        ["descriptors", t("board.descriptors"), orNone(sum("process_open_descriptors") / sum("process_max_descriptors") * 100, percent)],
        ["uptime", t("board.uptime"), started ? duration(Date.now() / 1000 - started) : "–"],
    ];
}

function workerFigures(metrics) {
    const sum = (name, labels) => metrics.sum(`therapybridge_${name}`, labels);
    const stage = "therapybridge_pipeline_stage_duration_seconds";
    const ended = (outcome) => orNone(sum("pipeline_sessions_total", { outcome }) ?? 0);
    return [
        ["claims", t("board.claims"), orNone(sum("pipeline_claims_total") ?? 0)],
        ["done", t("board.done"), ended("processed")],
        ["undone", t("board.undone"), ended("failed")],
        ["transcription", t("board.transcription"), orNone(metrics.quantile(stage, 0.5, { stage: "transcription", outcome: "finished" }), duration)],
        ["notes", t("board.notes"), orNone(metrics.quantile(stage, 0.5, { stage: "notes", outcome: "finished" }), duration)],
        ["webhooks", t("board.webhooks"), orNone(sum("webhook_pending") ?? 0)],
    ];
}

/** What needs somebody now. */
function troubles(metrics) {
    const value = (name) => metrics.sum(`therapybridge_${name}`);
    return [
        value("listener_live") === 0 && t("board.trouble.listener"),
        value("pipeline_paused") === 1 && t("board.trouble.paused"),
        value("pipeline_slow") === 1 && t("board.trouble.slow"),
        value("webhook_oldest_seconds") > 3600 && t("board.trouble.webhooks"),
    ].filter(Boolean);
}

function failureRow(session) {
    return h("tr", { "data-session": session.id },
        h("td.cell-date", { "data-label": t("board.failure.at") }, dateTime(session.progress.updated_at)),
        h("td", { "data-label": t("board.failure.patient") }, h("a.row-link", { href: `#/sessions/${session.id}` }, session.patient_name ?? t("patient.unnamed"))),
        h("td", { "data-label": t("board.failure.reason") }, failureWords(session.progress.error).text));
}
