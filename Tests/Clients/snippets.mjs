/**
 * Runs an example in JavaScript of docs/clients.md against a server.
 *
 *     node snippets.mjs DOCUMENT NAME BASE_URL ORIGIN EMAIL PASSWORD SESSION PATIENT
 *
 * ORIGIN is that of the other website, which the server must allow. Somebody else processes the session. Exits with 1 if
 * the example does not do what its page says.
 */

import assert from "node:assert/strict";
import crypto from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { cookieFetch, corsFetch, wave } from "./standins.mjs";

const [document, name, baseURL, origin, email, password, session, patient] = process.argv.slice(2);
globalThis.crypto ??= crypto.webcrypto; // Node.js 18 has it behind a flag.
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "tb-snippet-"));
process.on("exit", () => fs.rmSync(folder, { recursive: true }));
let modules = 0;

/** Writes a module, and returns its path. */
function asModule(text) {
    const file = path.join(folder, `module${++modules}.mjs`);
    fs.writeFileSync(file, text);
    return file;
}

const client = await (await fetch(`${baseURL}/client.js`, { headers: { Origin: origin } })).text();
const clientURL = asModule(client);

/** The text of an example, with this server in place of the one of the page. */
function example(name) {
    const [, text] = new RegExp("^```\\w+ " + name.replace(".", "\\.") + "\\n(.*?)^```", "ms").exec(fs.readFileSync(document, "utf8"));
    return text.replace(/"[^"]*\/client\.js"/, JSON.stringify(clientURL)).replaceAll("https://bridge.example.org", baseURL);
}

const runs = {
    /** A page of another website, held to the rules of CORS. */
    "bar.js": async () => {
        globalThis.fetch = corsFetch(origin);
        const { signIn, showProgress } = await import(asModule(example("bar.js")));
        await signIn(email, password);
        const bar = { value: 0 };
        const words = {};
        await showProgress(session, bar, words);
        assert.equal(bar.value, 100);
        assert.equal(bar.className, "ended");
        assert.equal(words.textContent, "All done");
        await showProgress("00000000-0000-4000-8000-000000000000", bar, words);
        assert.equal(words.textContent, "Stopped: not-found");
    },

    /** A page of the server's own site. */
    "own.js": async () => {
        await signedInPage();
        const { follow } = await import(asModule(example("own.js")));
        const seen = [];
        await follow(session, ({ progress }) => seen.push(progress));
        assert.equal(seen.at(-1), 100);
    },

    "useProgress.js": async () => {
        // Debian's packages node-react and node-react-test-renderer.
        const require = createRequire(import.meta.url);
        globalThis.IS_REACT_ACT_ENVIRONMENT = true;
        const React = require("/usr/share/nodejs/react");
        const { create, act } = require("/usr/share/nodejs/react-test-renderer");
        globalThis.React = React;
        const react = asModule("export const { createElement, useEffect, useState } = globalThis.React;");
        const { ProgressBar } = await import(asModule(example("useProgress.js").replace('"react"', JSON.stringify(react))));
        const bridge = await signedInPage();
        let root;
        // The strict mode mounts each component twice: the first watch must not disturb the second.
        const tree = React.createElement(React.StrictMode, null, React.createElement(ProgressBar, { bridge, sessionId: session }));
        await act(async () => { root = create(tree); });
        const seen = new Set();
        const texts = () => root.toJSON().children.slice(1).map(({ children }) => children[0]);
        assert.deepEqual(texts(), ["Connecting…"]);
        while (root.toJSON().props.className !== "ended") {
            seen.add(root.toJSON().props.className);
            await act(() => new Promise((resolve) => setTimeout(resolve, 20)));
        }
        assert.ok(seen.has("connecting"));
        const [bar] = root.toJSON().children;
        assert.equal(bar.type, "progress");
        assert.equal(bar.props.value, 100);
        assert.deepEqual(texts(), ["All done"]);
        await act(async () => root.unmount());
    },

    "all.js": async () => {
        const bridge = await signedInPage();
        const { followAll } = await import(asModule(example("all.js")));
        const seen = [];
        let reloads = 0;
        await new Promise((resolve, reject) => {
            const put = (progress) => {
                if (progress.session_id !== session) return;
                seen.push(progress.status);
                if (progress.status === "processed") resolve();
            };
            followAll(bridge, put, () => {}, async () => {
                reloads += 1;
                // The session may have been finished before the stream began. That is what the list is for.
                for (const { progress } of (await bridge.sessions({ limit: 200 })).items) put(progress);
            }).catch(reject);
        });
        assert.equal(reloads, 1);
        assert.equal(seen.at(-1), "processed");
    },

    "correct.js": async () => {
        globalThis.fetch = corsFetch(origin);
        const { TherapyBridge, memoryTokens } = await import(clientURL);
        const bridge = new TherapyBridge({ baseURL, tokens: memoryTokens() });
        await bridge.signIn(email, password);
        const { nameSpeaker } = await import(asModule(example("correct.js")));
        await nameSpeaker(bridge, session, 0, "JavaScript");
    },

    "upload.js": async () => {
        globalThis.fetch = corsFetch(origin);
        const { TherapyBridge, memoryTokens } = await import(clientURL);
        const bridge = new TherapyBridge({ baseURL, tokens: memoryTokens() });
        await bridge.signIn(email, password);
        const { upload } = await import(asModule(example("upload.js")));
        const bar = {};
        // The one who processes looks for this name.
        const file = new File([wave()], `${session}.wav`, { type: "audio/wav" });
        const stored = await upload(bridge, file, patient, bar);
        assert.equal(bar.value, 100);
        assert.equal(stored.filename, file.name);
        assert.equal((await bridge.session(stored.id)).progress.status, "processed");
    },
};

/** A page of the server's own site, which is signed in by cookies. */
async function signedInPage() {
    globalThis.location = { origin: baseURL, href: `${baseURL}/` };
    globalThis.fetch = cookieFetch(new Map(), process.env.OWN_ORIGIN ?? baseURL);
    const { TherapyBridge } = await import(clientURL);
    const bridge = new TherapyBridge();
    await bridge.signIn(email, password);
    return bridge;
}

// A class of Node.js 20.
globalThis.File ??= class File extends Blob {
    constructor(parts, name, options) {
        super(parts, options);
        this.name = name;
    }
};

await runs[name]();
process.exit(0);
