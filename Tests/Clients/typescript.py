"""The types of client.js: TypeScript takes them, they fit the examples of the documentation, and client.js has what they name."""
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STRICT = ["--noEmit", "--strict", "--target", "es2022", "--module", "es2022", "--moduleResolution", "node", "--lib", "es2022,dom,dom.iterable"]

# A program with the types, of which each line with "wrong" is an error.
USE = """
import { ApiError, EventParser, TherapyBridge, WatchEnded, memoryTokens, storedTokens } from "./client.js";
import type { EndReason, Progress, SessionEvent, Status, TokenStore } from "./client.js";

const store: TokenStore = { get: () => null, set: () => {} };
for (const tokens of [store, memoryTokens(), storedTokens("key"), null]) new TherapyBridge({ baseURL: "https://x", tokens });
const bridge = new TherapyBridge();

export async function use(file: File, id: string): Promise<EndReason> {
    const user = await bridge.signIn("a@b", "c");
    const role: string = user.role;
    const watch = bridge.watch(id, { transport: "poll", onState: ({ name, canDetectFreeze }) => { const is: boolean = canDetectFreeze && name === "live"; } });
    for await (const progress of watch) {
        const status: Status = progress.status;
        const shown: number = progress.progress + (progress.estimated_time_remaining ?? 0);
        progress.percent; // wrong
    }
    for await (const event of bridge.watchAll()) {
        if (event.event === "session_removed") event.data.status; // wrong
        else if (event.event !== "ready") { const state: Progress = event.data; }
    }
    const upload = bridge.upload(file, { patientId: id, onProgress: ({ sent, total }) => sent / total });
    const size: number | null = (await upload.stored).bytes;
    bridge.upload(file, {}); // wrong
    bridge.watch(id, { transport: "pigeon" }); // wrong
    const tag: string | null = (await bridge.response("GET", "/x")).headers.get("ETag");
    const { items } = await bridge.request<{ items: SessionEvent[] }>("GET", "/x", { headers: { Range: "x" } });
    items.map((item) => item.event);
    try { await bridge.signOut(); } catch (error) {
        if (error instanceof ApiError && error.isTemporary) return error.detail as EndReason;
        if (error instanceof WatchEnded) return error.reason;
    }
    new EventParser((milliseconds: number) => {}).feed("data: x\\n\\n").map(({ event, data }) => event + data);
    return (await watch.ended).reason;
}
"""

# Every exported name and every member of a class that the types have, looked up in the module itself.
LOOK = """
import * as all from "./client.mjs";
const wanted = JSON.parse(process.argv[1]);
const missing = [];
for (const [name, members] of Object.entries(wanted)) {
    if (typeof all[name] !== "function") missing.push(name);
    const own = Object.getOwnPropertyNames(all[name]?.prototype ?? {});
    for (const member of members) if (!own.includes(member) && member !== "[Symbol.asyncIterator]") missing.push(`${name}.${member}`);
}
for (const name of Object.keys(all)) if (!(name in wanted)) missing.push(`${name} in the types`);
if (missing.length) { console.error(`missing: ${missing.join(", ")}`); process.exit(1); }
"""


def examples():
    """The examples in JavaScript without React of docs/clients.md."""
    text = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
    for name, body in re.findall(r"^```js (\S+)\n(.*?)^```", text, re.M | re.S):
        if 'from "react' not in body:
            yield name, re.sub(r'"[^"]*/client\.js"', '"./client.js"', body)


def tsc(folder, *arguments):
    """The errors of the compiler, as (file, line, text)."""
    run = subprocess.run(["tsc", *STRICT, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    found = re.findall(r"^(\S+?)\((\d+),\d+\): (.*)$", run.stdout, re.M)
    if run.returncode and not found:
        sys.exit(run.stdout + run.stderr)
    return [(file, int(line), text) for file, line, text in found]


def main():
    types = (ROOT / "docs/clients/client.d.ts").read_text(encoding="utf-8")
    client = (ROOT / "docs/clients/client.js").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(dir=os.environ["TB_FOLDER"]) as folder:
        Path(folder, "client.d.ts").write_text(types, encoding="utf-8")
        Path(folder, "use.ts").write_text(USE, encoding="utf-8")
        wrong = {("use.ts", number) for number, line in enumerate(USE.splitlines(), 1) if "// wrong" in line}
        errors = tsc(folder, "use.ts")
        if {(file, line) for file, line, _ in errors} != wrong:
            sys.exit(f"the compiler says {errors}, and not just of {sorted(wrong)}")
        names = dict(examples())
        for name, body in names.items():
            Path(folder, name).write_text(body, encoding="utf-8")
        # The examples are JavaScript: their own functions have parameters without types.
        errors = tsc(folder, "--allowJs", "--checkJs", "--noImplicitAny", "false", "--useUnknownInCatchVariables", "false", *names)
        if errors:
            sys.exit(f"the examples do not fit the types: {errors}")
        Path(folder, "client.mjs").write_text(client, encoding="utf-8")
        classes = dict(re.findall(r"^export class (\w+).*?\{\n(.*?)^\}", types, re.M | re.S))
        # Fields are of each object, so that the class has only methods and getters.
        wanted = {name: re.findall(r"^    ([\w\[\].]+)(?:<[^>]*>)?\(", body, re.M) for name, body in classes.items()}
        wanted.update({name: [] for name in re.findall(r"^export function (\w+)", types, re.M)})
        subprocess.run(["node", "--input-type=module", "-e", LOOK, json.dumps(wanted)], cwd=folder, check=True)
    print(f"  {len(names)} examples, {sum(len(members) for members in wanted.values())} members")


main()
