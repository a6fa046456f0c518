#!/usr/bin/python3
"""Runs the cases of cases.json with docs/clients/therapybridge.py, by its generator and by its asynchronous iterator.

    cases.py CASES.json PORT [NAME]

PORT is that of misbehaving_server.py. Prints a line for each failed case, and exits with 1 if there is one.
"""

import asyncio
import concurrent.futures
import hashlib
import json
import os
import sys
import tempfile
import time
import traceback
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs/clients"))
import therapybridge  # noqa: E402
from therapybridge import ApiError, AsyncTherapyBridge, TherapyBridge, WatchEnded  # noqa: E402

SESSION = "550e8400-e29b-41d4-a716-446655440000"
NAMES = {SESSION: "a", "6fa459ea-ee8a-4ca4-894e-db77e160355e": "b"}
TOKENS = {"access_token": "access-1", "refresh_token": "refresh-1"}
RETRY = 0.02
SLOWNESS = float(os.environ.get("TEST_SLOWNESS", 1))


def clock_that_is_off():
    """The date of the device is wrong, and goes on jumping. The client must not notice."""
    real, calls = time.time, [0]

    def off():
        calls[0] += 1
        return real() + calls[0] * 86_400 * (-1) ** calls[0]

    therapybridge.time.time = off


def equal(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, not {wanted!r}")


def seen(port, run):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{run}/log") as answer:
        return json.load(answer)


class Watch:
    """One run of a case that watches."""

    def __init__(self, case, transport, way, port):
        self.case, self.transport, self.port = case, transport, port
        self.options = case.get("options", {})
        self.run = f"{case['name']}~python-{way}"
        self.items, self.states, self.reason = [], [], None

    def client(self, kind):
        watchdog = self.options.get("watchdog", 60) * SLOWNESS
        # All cases connect at once.
        timeout = therapybridge.httpx.Timeout(watchdog, connect=60 * SLOWNESS)
        return kind(
            f"http://127.0.0.1:{self.port}/{self.run}", TOKENS, retry=RETRY, poll_interval=RETRY, watchdog=watchdog,
            timeout=timeout)

    def on_state(self, state, reason):
        self.states.append(state)
        self.reason = reason

    def begin(self, bridge):
        options = dict(last_event_id=self.options.get("last_event_id"), on_state=self.on_state,
                       transport="stream" if self.transport == "fetch" else self.transport)
        return bridge.watch_all(**options) if self.options.get("all") else bridge.watch(SESSION, **options)

    def by_generator(self):
        with self.client(TherapyBridge) as bridge:
            try:
                for item in self.begin(bridge):
                    self.items.append(item)
            except WatchEnded as end:
                equal(self.reason, end.reason, "the reason")
        self.check()

    async def by_iterator(self):
        async with self.client(AsyncTherapyBridge) as bridge:
            try:
                async for item in self.begin(bridge):
                    self.items.append(item)
            except WatchEnded as end:
                equal(self.reason, end.reason, "the reason")
        await asyncio.to_thread(self.check)

    def check(self):
        expect, log = self.case["expect"], seen(self.port, self.run)
        equal(log["unexpected"], [], "unexpected requests")
        equal(self.reason, expect["end"], "the end")
        if "versions" in expect:
            equal([item["version"] for item in self.items], expect["versions"], "the versions")
        if "events" in expect:
            equal([words(item) for item in self.items], expect["events"], "the events")
        if "states" in expect:
            equal(self.states, expect["states"], "the states")
        if "message" in expect:
            equal({item["message"] for item in self.items}, {expect["message"]}, "the message")
        check_log(log, expect)


def words(item):
    data = item["data"]
    version = data.get("version") if item["event"] != "session_removed" else None
    return " ".join(str(part) for part in (item["event"], NAMES.get(data.get("session_id")), version) if part)


def check_log(log, expect):
    for key in ("last_event_ids", "refreshes", "tags", "leaked", "creations", "tokens"):
        if key in expect:
            equal(log[key], expect[key], key)
    for gap, wanted in zip(log["gaps"], expect.get("gaps", [])):
        if gap < wanted:
            raise AssertionError(f"came back after {gap} ms, not {wanted}")


class Upload:
    """One run of a case that uploads."""

    def __init__(self, case, way, checksum, port):
        self.case, self.port = case, port
        self.run = f"{case['name']}~python-{way}-{checksum}"
        self.data = os.urandom(case["upload"]["bytes"])
        self.told, self.end = [], "stored"
        self.session = therapybridge.new_session_id()
        self.arguments = dict(
            session_id=self.session, chunk_size=case["upload"]["chunk"], checksum=checksum,
            on_progress=lambda sent, total: self.told.append(sent / total))

    def client(self, kind):
        return kind(f"http://127.0.0.1:{self.port}/{self.run}", TOKENS, retry=RETRY)

    def file(self, folder):
        path = os.path.join(folder, "Gespräch.m4a")
        Path(path).write_bytes(self.data)
        return path

    def by_generator(self):
        with tempfile.TemporaryDirectory() as folder, self.client(TherapyBridge) as bridge:
            try:
                answer = bridge.upload(self.file(folder), SESSION, **self.arguments)
                equal(answer["id"], self.session, "the id")
            except ApiError as error:
                self.end = str(error.status)
        self.check()

    async def by_iterator(self):
        with tempfile.TemporaryDirectory() as folder:
            async with self.client(AsyncTherapyBridge) as bridge:
                try:
                    answer = await bridge.upload(self.file(folder), SESSION, **self.arguments)
                    equal(answer["id"], self.session, "the id")
                except ApiError as error:
                    self.end = str(error.status)
        await asyncio.to_thread(self.check)

    def check(self):
        expect, log = self.case["expect"], seen(self.port, self.run)
        equal(log["unexpected"], [], "unexpected requests")
        equal(self.end, expect["end"], "the end")
        equal(log["metadata"]["filename"], "Gespräch.m4a", "the name")
        if self.end == "stored":
            equal(log["digest"], hashlib.sha256(self.data).hexdigest(), "the digest")
            equal((self.told[0], self.told[-1]), (0, 1), "the progress")
        check_log(log, expect)


class Callers:
    """Several requests at once, whose token the server refuses."""

    def __init__(self, case, way, port):
        self.case, self.port = case, port
        self.run = f"{case['name']}~python-{way}"
        self.base_url = f"http://127.0.0.1:{port}/{self.run}"

    def by_generator(self):
        with TherapyBridge(self.base_url, TOKENS) as bridge:
            with concurrent.futures.ThreadPoolExecutor(max_workers=self.case["callers"]) as pool:
                for answer in [pool.submit(bridge.me) for _ in range(self.case["callers"])]:
                    answer.result()
        self.check()

    async def by_iterator(self):
        async with AsyncTherapyBridge(self.base_url, TOKENS) as bridge:
            await asyncio.gather(*(bridge.me() for _ in range(self.case["callers"])))
        await asyncio.to_thread(self.check)

    def check(self):
        log = seen(self.port, self.run)
        equal(log["unexpected"], [], "unexpected requests")
        check_log(log, self.case["expect"])


async def all_of(runs):
    """Runs all cases at once: the generators in threads, the iterators in this loop. Returns names and errors."""
    asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(max_workers=2 * len(runs)))
    work = [work() if asyncio.iscoroutinefunction(work) else asyncio.to_thread(work) for _, _, work in runs]
    results = await asyncio.gather(*work, return_exceptions=True)
    names = [f"{case['name']} {way}" for case, way, _ in runs]
    return [(name, result if isinstance(result, BaseException) else None) for name, result in zip(names, results)]


def main():
    cases, port = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["cases"], sys.argv[2]
    only = sys.argv[3] if len(sys.argv) > 3 else None
    clock_that_is_off()
    runs = []
    for case in cases:
        if only and case["name"] != only:
            continue
        if "callers" in case:
            runs.append((case, "generator", Callers(case, "generator", port).by_generator))
            runs.append((case, "iterator", Callers(case, "iterator", port).by_iterator))
            continue
        if "upload" in case:
            for checksum in (True, False):
                runs.append((case, "generator", Upload(case, "generator", checksum, port).by_generator))
                runs.append((case, "iterator", Upload(case, "iterator", checksum, port).by_iterator))
            continue
        for transport in case.get("transports", ["fetch"]):
            if transport in ("fetch", "poll", "websocket"):
                runs.append((case, "generator", Watch(case, transport, "generator", port).by_generator))
                runs.append((case, "iterator", Watch(case, transport, "iterator", port).by_iterator))
    failed = 0
    for name, error in asyncio.run(all_of(runs)):
        if error:
            failed += 1
            print(f"FAILED {name}: {''.join(traceback.format_exception(error))}")
    print(f"{len(runs) - failed} of {len(runs)} passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
