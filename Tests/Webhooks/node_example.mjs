// Runs the example of docs/webhooks.md for Node, which it reads from standard input with a delivery, and prints the event.
//
// The registry of npm is not there. A class with the interface of the package standardwebhooks verifies by the specification.
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

class Webhook {
    #key;

    constructor(secret) {
        this.#key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
    }

    verify(body, headers) {
        const [id, time, signatures] = ["id", "timestamp", "signature"].map((name) => headers[`webhook-${name}`]);
        if (Math.abs(Date.now() / 1000 - Number(time)) > 300) throw new Error("the timestamp is too far away");
        const expected = createHmac("sha256", this.#key).update(`${id}.${time}.${body}`).digest();
        const isRight = signatures.split(" ").some((text) => {
            const [version, signature] = text.split(",");
            const found = Buffer.from(signature ?? "", "base64");
            return version === "v1" && found.length === expected.length && timingSafeEqual(found, expected);
        });
        if (!isRight) throw new Error("no signature matches");
        return JSON.parse(body);
    }
}

const { example, secret, body, headers } = JSON.parse(readFileSync(0, "utf8"));
const code = example.replace(/^import .*$/m, "") + "\nreturn event;";
const event = new Function("Webhook", "secret", "body", "headers", code)(Webhook, secret, body, headers);
console.log(JSON.stringify(event));
