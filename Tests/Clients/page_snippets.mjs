/**
 * Runs the example in JavaScript of docs/streams.md or docs/websocket.md against a server, as a page of its own site.
 *
 *     node page_snippets.mjs DOCUMENT BASE_URL EMAIL PASSWORD SESSION
 *
 * The access token has expired when the page opens. Somebody else processes the session. Exits with 1 if the example does not
 * show the session to its end.
 */

import assert from "node:assert/strict";
import fs from "node:fs";
import { cookieFetch, eventSourceClass, webSocketClass } from "./standins.mjs";

const [document, baseURL, email, password, session] = process.argv.slice(2);
const [, text] = /^```js\n(.*?)^```/ms.exec(fs.readFileSync(document, "utf8"));

const jar = new Map();
const origin = process.env.OWN_ORIGIN ?? baseURL;
const send = cookieFetch(jar, origin);
const absolute = (url) => new URL(url, baseURL).href;
const signedIn = await send(absolute("/api/auth/login"), {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ email, password }), credentials: "include",
});
assert.equal(signedIn.status, 200);
jar.delete("tb_access"); // A browser drops a cookie that has expired.

/** What a browser gives the page. Its server speaks plain http here. */
const browser = {
    EventSource: class extends eventSourceClass(jar, 2000) {
        static CLOSED = 2;
        constructor(url) { super(absolute(url)); }
    },
    WebSocket: class extends webSocketClass(jar, origin) {
        constructor(url) {
            super(url.replace(/^wss:/, "ws:"));
            for (const name of ["message", "close"]) this.addEventListener(name, (event) => this[`on${name}`]?.(event));
        }
    },
    location: new URL(baseURL),
    fetch: (url, init) => send(absolute(url), { ...init, credentials: "include" }),
};

const shown = [];
await new Promise((resolve, reject) => {
    const watch = new Function(...Object.keys(browser), "signInAgain", `${text}; return watch;`)(
        ...Object.values(browser), () => reject(new Error("the example asks for a new sign-in")));
    watch(session, (progress) => {
        shown.push(progress.version);
        if (progress.status === "processed") resolve();
    });
});
assert.deepEqual(shown, [...shown].sort((one, other) => one - other));
assert.ok(jar.has("tb_access"), "the example has refreshed the token");
process.exit(0);
