"""Every client of Server-Sent Events follows a session to its end, over a connection that is cut in the middle.

All have to hand on every transition, in order, once, with its text unharmed. What a library does beyond that is its own
business, and stands in the table of docs/sse-clients.md: a run with CLIENTS_WRITE=1 writes it, any other compares it.
"""
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import threading

from libraries import ALL
from scene import SHOWN, WORDS, Link, Server, wait_for

FOLDER = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(FOLDER, "..", "..", "docs", "sse-clients.md")
ENVIRONMENT = os.environ["TB_ENVIRONMENT"]


class Follower:
    """A library in a process of its own, and what it has handed on."""

    def __init__(self, name, session, link, token, last=None):
        package = name.split(",")[0]
        path = [FOLDER, os.path.join(ENVIRONMENT, "libraries", package)]
        arguments = [name, f"{link.url}/api/sessions/{session}/status/stream", token] + ([last] if last else [])
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(FOLDER, "follow.py"), *arguments], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)})
        self.lines, self.errors = [], []
        self.readers = [threading.Thread(target=self.read), threading.Thread(target=self.read_errors)]
        for reader in self.readers:
            reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def read_errors(self):
        self.errors += self.process.stderr

    @property
    def events(self):
        return [line for line in self.lines if "data" in line]

    @property
    def states(self):
        """The progress objects that were handed on."""
        return [json.loads(event["data"]) for event in self.events if event["data"]]

    @property
    def openings(self):
        return sum("opened" in line for line in self.lines)

    def wait_for(self, status):
        def has():
            if self.process.poll() not in (None, 0):
                raise AssertionError("ended: " + "".join(self.errors)[-2000:])
            return any(state["status"] == status for state in self.states)

        wait_for(f"an event with {status}; there are {self.lines[-3:]}", has)

    def end(self, seconds=60):
        """Waits for the end of the process; False if it goes on."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return False
        finally:
            for reader in self.readers:
                reader.join()
        return True


def follow(server, name):
    """One library on one session; returns its row of the table."""
    session = server.new_session()
    link = Link(server.port)
    follower = Follower(name, session, link, server.therapist)
    try:
        follower.wait_for("pending")
        server.report(session, "transcribing", 20, WORDS)
        follower.wait_for("transcribing")
        count = len(follower.events)
        wait_for("two heartbeats", lambda: link.answers[-1].count(b": heartbeat\n\n") >= 2)
        # What came after a heartbeat was handed on once the next event is.
        server.report(session, "transcribing", 30, WORDS)
        wait_for("the percentage", lambda: any(state["progress"] == 30 for state in follower.states))
        quiet = follower.events[count:]
        openings = follower.openings
        link.cut()
        # Both come while the connection is down.
        server.report(session, "transcribed", 60, "while it was cut")
        server.report(session, "extracting_notes", 60, WORDS)
        follower.wait_for("extracting_notes")
        resumed = follower.openings == openings
        server.report(session, "processed", 100)
        follower.wait_for("processed")
        assert follower.end(), "does not end"
    finally:
        link.close()
        follower.process.kill()
    check(follower)
    kinds = {event["event"] for event in follower.events if event["data"]}
    return {
        "resumes": resumed, "quiet": kind_of(quiet), "ids": bool(follower.events[0]["id"]),
        "types": "none" if kinds == {None} else "exact" if kinds == {"progress", "complete"} else "changed",
        "end": end(server, name, session, follower.states[-1]["version"])}


def check(follower):
    """Every transition once and in order, and the texts as they were reported."""
    states = follower.states
    transitions = [state["status"] for before, state in zip([{"status": None}] + states, states) if state["status"] != before["status"]]
    assert transitions == ["pending", "transcribing", "transcribed", "extracting_notes", "processed"], transitions
    versions = [state["version"] for state in states]
    assert versions == sorted(versions), f"out of order: {versions}"
    texts = {"transcribing": SHOWN, "transcribed": "while it was cut", "extracting_notes": SHOWN}
    for state in states:
        assert state["message"] == texts.get(state["status"], state["message"]), state


def kind_of(quiet):
    """What a library hands on for a heartbeat."""
    if not all(event["data"] for event in quiet):
        return "an empty event"
    # Estimates come meanwhile, too, each with a version of its own.
    versions = [json.loads(event["data"])["version"] for event in quiet]
    return "nothing" if len(set(versions)) == len(versions) else "the last event again"


def end(server, name, session, version):
    """What a library does with 204, which says that the session is finished and the client has its last version."""
    link = Link(server.port)
    try:
        follower = Follower(name, session, link, server.therapist, str(version))
        wait_for("the end, or another request", lambda: follower.process.poll() is not None or len(streams(link)) > 1)
        if len(streams(link)) > 1:
            follower.process.kill()
            follower.end()
            return "asks again"
        follower.end()
        assert not follower.events, follower.events
        return "ends" if follower.process.returncode == 0 else "an error"
    finally:
        link.close()


def streams(link):
    return [request for request in link.requests if b"/stream" in request]


def table(rows):
    lines = ["| library | version | for a heartbeat it hands on | `id` | event type | after a lost connection | at 204 |", "|---|---|---|---|---|---|---|"]
    for name, row in rows.items():
        if "docs/" in name:
            assert row["quiet"] == "nothing" and row["resumes"] and row["end"] == "ends", row
            continue
        lines.append(
            f"| {name} | {version(name)} | {row['quiet']} | {'yes' if row['ids'] else 'no'} | {row['types']} | "
            f"{'resumes' if row['resumes'] else 'stops'} | {row['end']} |")
    return "\n".join(lines)


def version(name):
    if name == "curl":
        return "Debian's"
    with open(os.path.join(FOLDER, "libraries.txt")) as file:
        return re.search(rf"^{re.escape(name.split(',')[0])}==(\S+)", file.read(), re.M)[1]


def main():
    server = Server(SSE_HEARTBEAT_INTERVAL="1")
    names = sys.argv[1:] or list(ALL)
    rows, failed = {}, False
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            found = {name: pool.submit(follow, server, name) for name in names}
            for name, result in found.items():
                try:
                    rows[name] = result.result()
                    print(f"  {name}: {rows[name]}", flush=True)
                except Exception as error:
                    failed = True
                    print(f"  {name}: FAILED: {error!r}", flush=True)
    finally:
        server.stop()
    if failed:
        sys.exit(1)
    if sys.argv[1:]:
        return
    with open(PAGE) as file:
        page = file.read()
    begin, finish = "<!-- sse-clients:begin -->\n", "\n<!-- sse-clients:end -->"
    head, rest = page.split(begin)
    present, tail = rest.split(finish)
    if os.environ.get("CLIENTS_WRITE"):
        with open(PAGE, "w") as file:
            file.write(head + begin + table(rows) + finish + tail)
    elif present != table(rows):
        sys.exit("docs/sse-clients.md has another table. Write it by CLIENTS_WRITE=1, and look at the difference:\n" + table(rows))
    print(f"  {len(rows)} clients")


main()
