/**
 * Runs the cases of cases.json with client.js.
 *
 *     node cases.mjs CLIENT.js CASES.json PORT [NAME]
 *
 * PORT is that of misbehaving_server.py. Prints a line for each failed case, and exits with 1 if there is one.
 */

import assert from "node:assert/strict";
import crypto from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { cookieFetch, eventSourceClass, installTabs, webSocketClass } from "./standins.mjs";

const [clientPath, casesPath, port, only] = process.argv.slice(2);
// A file .js is a module in Node.js only beside a package.json that says so. A copy .mjs needs none.
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "tb-client-"));
process.on("exit", () => fs.rmSync(folder, { recursive: true }));
fs.copyFileSync(clientPath, path.join(folder, "client.mjs"));
const { TherapyBridge, memoryTokens, storedTokens } = await import(path.join(folder, "client.mjs"));
const { cases } = JSON.parse(fs.readFileSync(casesPath, "utf8"));
const SESSION = "550e8400-e29b-41d4-a716-446655440000";
const NAMES = { [SESSION]: "a", "6fa459ea-ee8a-4ca4-894e-db77e160355e": "b" };
const FIRST_RETRY = 20;
const SLOWNESS = Number(process.env.TEST_SLOWNESS ?? 1);
installTabs();
globalThis.crypto ??= crypto.webcrypto; // Node.js 18 has it behind a flag.

// The date of the device is off, and goes on jumping. The client must not notice.
const realNow = Date.now;
let shift = 0;
Date.now = () => realNow() + (shift += 86_400_000) * (shift % 2 ? -1 : 1);

const jars = new Map();

function bridgeFor(run, transport) {
    const baseURL = `http://127.0.0.1:${port}/${run}`;
    const usesCookies = transport === "eventsource" || transport === "websocket";
    // All tabs of a browser have the same cookies.
    if (!jars.has(run)) jars.set(run, new Map(usesCookies ? [["tb_access", "access-1"]] : []));
    const jar = jars.get(run);
    let tokens = usesCookies ? null : memoryTokens();
    if (transport === "stored") tokens = storedTokens(run);
    tokens?.set({ access_token: "access-1", refresh_token: "refresh-1" });
    return new TherapyBridge({
        baseURL, tokens, fetch: cookieFetch(jar), EventSource: eventSourceClass(jar, FIRST_RETRY), WebSocket: webSocketClass(jar),
    });
}

async function seen(run) {
    return (await fetch(`http://127.0.0.1:${port}/${run}/log`)).json();
}

async function watch({ name, options = {}, expect }, transport) {
    const run = `${name}~js-${transport}`;
    const bridge = bridgeFor(run, transport);
    const states = [];
    const told = [];
    const all = {
        transport, retry: FIRST_RETRY, pollInterval: 20, watchdog: (options.watchdog ?? 60) * 1000 * SLOWNESS,
        lastEventId: options.last_event_id, onState: ({ name }) => { if (states.at(-1) !== name) states.push(name); },
        onProgress: ({ version }) => told.push(version),
    };
    const it = options.all ? bridge.watchAll(all) : bridge.watch(SESSION, all);
    assert.equal(it.state.canDetectFreeze, transport === "fetch" || transport === "poll");
    const items = [];
    try {
        for await (const item of it) items.push(item);
    } catch (error) {
        assert.equal(error.name, "WatchEnded", String(error));
    }
    const { reason } = await it.ended;
    const log = await seen(run);
    assert.deepEqual(log.unexpected, []);
    assert.equal(reason, expect.end);
    if (expect.versions) {
        // The loop may have skipped percentages, of which each took the place of the one before. The callback got all.
        assert.deepEqual(told, expect.versions);
        assert.equal(items.at(-1)?.version, expect.versions.at(-1));
    }
    if (expect.events) {
        const words = items.map(({ event, data }) =>
            [event, NAMES[data.session_id], event === "session_removed" ? undefined : data.version].filter(Boolean).join(" "));
        assert.deepEqual(words, expect.events);
    }
    if (expect.states) assert.deepEqual(states, expect.states);
    if (expect.message) for (const item of items) assert.equal(item.message, expect.message);
    check(log, expect, transport);
}

/** Compares what the server saw. */
function check(log, expect, transport) {
    for (const key of ["last_event_ids", "refreshes", "tags", "leaked", "creations"]) {
        if (key in expect) assert.deepEqual(log[key], expect[key], key);
    }
    if (expect.tokens && transport !== "ticket") assert.deepEqual(log.tokens, expect.tokens);
    expect.gaps?.forEach((gap, index) => assert.ok(log.gaps[index] >= gap, `came back after ${log.gaps[index]} ms`));
    assert.equal(log.spent_tickets, 0, "a spent ticket was sent again");
}

/** Several requests of two tabs, which share the storage and the locks of a browser. */
async function callers({ name, callers, expect }, kind) {
    const run = `${name}~js-${kind}`;
    const tabs = [0, 1].map(() => bridgeFor(run, kind));
    await Promise.all(Array.from({ length: callers }, (_, index) => tabs[index % 2].me()));
    const log = await seen(run);
    assert.deepEqual(log.unexpected, []);
    check(log, expect);
}

async function upload({ name, upload: { bytes, chunk }, expect }, checksum) {
    const run = `${name}~js-${checksum ? "checksum" : "plain"}`;
    const bridge = bridgeFor(run, "upload");
    const data = crypto.randomBytes(bytes);
    const told = [];
    const it = bridge.upload(new Blob([data], { type: "audio/mp4" }), {
        patientId: SESSION, filename: "Gespräch.m4a", checksum, chunkSize: chunk, retry: FIRST_RETRY,
        onProgress: ({ sent, total }) => told.push(sent / total),
    });
    let end = "stored";
    try {
        assert.equal((await it.stored).id, it.sessionId);
    } catch (error) {
        if (error.name !== "ApiError") throw error;
        end = String(error.status);
    }
    const log = await seen(run);
    assert.deepEqual(log.unexpected, []);
    assert.equal(end, expect.end);
    assert.equal(log.metadata.filename, "Gespräch.m4a");
    if (end === "stored") {
        assert.equal(log.digest, crypto.createHash("sha256").update(data).digest("hex"));
        assert.equal(told[0], 0);
        assert.equal(told.at(-1), 1);
    }
    check(log, expect);
}

const runs = [];
for (const one of cases) {
    if (only && only !== one.name) continue;
    if (one.callers) for (const kind of ["stored", "eventsource"]) runs.push([`${one.name} ${kind}`, () => callers(one, kind)]);
    else if (one.upload) for (const checksum of [true, false]) runs.push([`${one.name} ${checksum}`, () => upload(one, checksum)]);
    else if (!one.native) for (const transport of one.transports ?? ["fetch"]) runs.push([`${one.name} ${transport}`, () => watch(one, transport)]);
}
let failed = 0;
await Promise.all(runs.map(async ([name, work]) => {
    try {
        await work();
    } catch (error) {
        failed += 1;
        console.log(`FAILED ${name}: ${error.stack}`);
    }
}));
console.log(`${runs.length - failed} of ${runs.length} passed`);
process.exit(failed ? 1 : 0);
