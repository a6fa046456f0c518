/**
 * Runs the modules of the page that speak to the server, without a browser.
 *
 *     node page.mjs BASE_URL EMAIL PASSWORD PATIENT [FOLDER]
 *
 * It signs in, follows all sessions, uploads a recording for PATIENT, and waits for the end of the sign-in, which somebody
 * else brings about. Then it prints what the user has seen. It reads the modules from FOLDER, or from the server.
 */

import crypto from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { cookieFetch, wave } from "./standins.mjs";

const [baseURL, email, password, patient, source] = process.argv.slice(2);
globalThis.crypto ??= crypto.webcrypto; // Node.js 18 has it behind a flag.
const realFetch = globalThis.fetch;
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "tb-page-"));
process.on("exit", () => fs.rmSync(folder, { recursive: true }));
for (const name of ["client.js", "api.js", "dom.js", "live.js", "store.js", "tabs.js", "upload.js", "upload-jobs.js", "wire.js", "words.js"]) {
    const url = `${baseURL}${name === "client.js" ? "" : "/assets"}/${name}`;
    const text = source ? fs.readFileSync(path.join(source, name), "utf8") : await (await realFetch(url)).text();
    const local = text.replace(/from "\.?\/([a-z-]+)\.js"/g, 'from "./$1.mjs"');
    fs.writeFileSync(path.join(folder, name.replace(".js", ".mjs")), local);
}

// What these modules need of a browser.
globalThis.fetch = cookieFetch(new Map(), process.env.OWN_ORIGIN ?? baseURL);
globalThis.location = { origin: baseURL, href: `${baseURL}/` };
globalThis.window = new EventTarget();
globalThis.document = Object.assign(new EventTarget(), {
    hidden: false, getElementById: () => ({ textContent: "" }), body: { dataset: {} },
});
globalThis.CustomEvent ??= class extends Event { // a class of Node.js 19
    constructor(name, options) {
        super(name);
        this.detail = options.detail;
    }
};
globalThis.File ??= class extends Blob { // a class of Node.js 20
    constructor(parts, name, options) {
        super(parts, options);
        this.name = name;
    }
};

const api = await import(path.join(folder, "api.mjs"));
const { LiveUpdates } = await import(path.join(folder, "live.mjs"));
const { SessionStore } = await import(path.join(folder, "store.mjs"));
const { Uploads } = await import(path.join(folder, "upload.mjs"));
const { incompleteness } = await import(path.join(folder, "words.mjs"));

// Without a table of words, a key stands for itself.
const missing = [[true, 70, 70], [false, 31, 70], [false, 70.02, 70]].map(
    ([is_complete, duration_seconds, announced_seconds]) => incompleteness({ is_complete, duration_seconds, announced_seconds }));
const seen = { states: [], transitions: [], transfers: [], reason: null, missing };
const store = new SessionStore();
store.addEventListener("transition", ({ detail }) => seen.transitions.push(detail.session.progress.status));
const tabs = { on() {}, post() {} };
const uploads = new Uploads({ store, tabs, mayManage: true });
uploads.addEventListener("change", () => {
    const phase = uploads.jobs[0]?.phase;
    if (phase && seen.transfers.at(-1) !== phase) seen.transfers.push(phase);
});
const ended = new Promise((resolve) => api.whenSignedOut(resolve));
const live = new LiveUpdates(store, tabs, (state) => { if (seen.states.at(-1) !== state) seen.states.push(state); });
uploads.begin(await api.signIn(email, password));
live.start();
// The stream has begun, and the list was read.
while (!store.isLoaded || live.state !== "live") await new Promise((resolve) => setTimeout(resolve, 20));
uploads.add({ patientId: patient, date: null, file: new File([wave()], "page.wav", { type: "audio/wav" }) });
seen.reason = await ended;
live.stop();
console.log(JSON.stringify(seen));
process.exit(0);
