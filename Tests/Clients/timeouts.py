"""The table of time-outs in docs/clients.md: each library follows a quiet stream, and one whose network has frozen.

The heartbeat is the default one, 15 s. A library runs with the setting of its row, which is read from the page, and as it is by
default. Every run has a connection of its own, and never connects again.
"""
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
import threading

import aiohttp
import httpx
import requests

from scene import Link, Server, wait_for

FOLDER = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(FOLDER, "..", "..", "docs", "clients.md")
DONE = "event: complete"
# Debian's libokhttp-java and libokio-java.
JARS = "/usr/share/java/okhttp.jar:/usr/share/java/okio.jar"


def settings():
    """The setting of each library on the page: the texts in backquotes of the last column."""
    with open(PAGE, encoding="utf-8") as file:
        table = re.search(r"^## Time-outs.*?\n\n(\|.*?)\n\n", file.read(), re.M | re.S)[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {name: re.findall(r"`([^`]+)`", setting) for name, _, setting in rows}


# Each function follows a stream to its end. It raises TimeoutError if the library gives up, and returns the lines.


def use_httpx(url, token, setting):
    options = {"timeout": eval(setting, {"httpx": httpx})} if setting else {}  # The text is that of our page.
    try:
        with httpx.Client(**options) as client, client.stream("GET", url, headers=headers(token)) as response:
            return list(response.iter_lines())
    except httpx.ReadTimeout as error:
        raise TimeoutError from error


def use_requests(url, token, setting):
    options = eval(f"dict({setting})") if setting else {}
    try:
        with requests.get(url, headers=headers(token), stream=True, **options) as response:
            return list(response.iter_lines(chunk_size=1, decode_unicode=True))
    except requests.ConnectionError as error:
        # A body whose read times out raises this one, and not requests.ReadTimeout.
        if "Read timed out" in str(error):
            raise TimeoutError from error
        raise


def use_aiohttp(url, token, setting):
    import asyncio

    options = {"timeout": eval(setting, vars(aiohttp))} if setting else {}

    async def follow():
        async with aiohttp.ClientSession(**options) as session, session.get(url, headers=headers(token)) as response:
            return [line.decode().rstrip("\n") async for line in response.content]

    # aiohttp raises TimeoutError itself: asyncio.TimeoutError, which is another class before Python 3.11.
    try:
        return asyncio.run(follow())
    except asyncio.TimeoutError as error:
        raise TimeoutError from error


def use_okhttp(url, token, setting):
    return use_java("OkHttp", url, token, setting)


def use_java_net_http(url, token, setting):
    return use_java("JavaNetHTTP", url, token, setting)


def use_java(name, url, token, setting):
    """Runs a program of this folder, with the calls of a setting in the place that it has for them."""
    with open(os.path.join(FOLDER, f"{name}.java"), encoding="utf-8") as file:
        text = file.read()
    with tempfile.TemporaryDirectory(dir=os.environ["TB_FOLDER"]) as folder:
        path = os.path.join(folder, f"{name}.java")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("/* setting */", f".{setting}" if setting else ""))
        run = subprocess.run(
            ["java", "-XX:TieredStopAtLevel=1", "-cp", JARS, path, url, token], capture_output=True, text=True, check=False)
    if "SocketTimeoutException" in run.stderr or "HttpTimeoutException" in run.stderr:
        raise TimeoutError
    if run.returncode:
        raise ConnectionError(run.stderr[:2000])
    return run.stdout.splitlines()


def use_curl(url, token, setting):
    command = ["curl", "-sSN", *(setting or "").split(), "-H", f"Authorization: Bearer {token}", url]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode == 28:
        raise TimeoutError
    if run.returncode:
        raise ConnectionError(run.stderr)
    return run.stdout.splitlines()


def headers(token):
    return {"Authorization": f"Bearer {token}"}


LIBRARIES = {
    "httpx": use_httpx, "requests": use_requests, "aiohttp": use_aiohttp, "OkHttp": use_okhttp,
    "java.net.http": use_java_net_http, "curl": use_curl}
# By default, these read for less than a heartbeat's pause.
HASTY = {"httpx", "OkHttp"}
# These have no setting: the page asks for a watchdog.
WITHOUT = {"java.net.http"}
# By default, these wait for ever. aiohttp ends a whole answer after its time, frozen or not.
PATIENT = {"requests", "aiohttp", "java.net.http", "curl"}


class Run:
    """One library on one stream."""

    def __init__(self, server, session, name, setting):
        self.name, self.setting, self.link = name, setting, Link(server.port)
        self.outcome = concurrent.futures.Future()
        threading.Thread(target=self.follow, args=(f"{self.link.url}/api/sessions/{session}/status/stream", server.therapist), daemon=True).start()

    def follow(self, url, token):
        try:
            self.outcome.set_result(LIBRARIES[self.name](url, token, self.setting))
        except BaseException as error:
            self.outcome.set_exception(error)

    @property
    def answer(self):
        return bytes(self.link.answers[0]) if self.link.answers else b""

    @property
    def beats(self):
        return self.answer.count(b": heartbeat\n")

    @property
    def has_begun(self):
        return b"event: progress" in self.answer or self.outcome.done()

    @property
    def has_given_up(self):
        return self.outcome.done() and isinstance(self.outcome.exception(), TimeoutError)

    def __str__(self):
        if not self.outcome.done():
            outcome = "waits"
        elif self.has_given_up:
            outcome = "gives up"
        else:
            outcome = "reads to the end" if not self.outcome.exception() else repr(self.outcome.exception())
        return f"{self.name} with {self.setting or 'its default'}: {self.beats} heartbeats, {outcome}"


def check(what, condition, run):
    if not condition:
        raise AssertionError(f"{what}: {run}")


def defaults():
    """What the page says of defaults that no run of a minute can show."""
    assert aiohttp.ClientTimeout().total is None and aiohttp.client.DEFAULT_TIMEOUT.total == 300, aiohttp.client.DEFAULT_TIMEOUT
    assert httpx.Client().timeout.read == 5


def follow_all(server, chosen):
    session = server.new_session()
    server.report(session, "transcribing", 20)

    def start(names, setting):
        return [Run(server, session, name, setting(name)) for name in names]

    quiet = start([name for name in LIBRARIES if name not in WITHOUT], chosen.get) + start(LIBRARIES, lambda name: None)
    frozen = start([name for name in LIBRARIES if name not in WITHOUT], chosen.get) + start(PATIENT, lambda name: None)
    every = quiet + frozen
    try:
        wait_for("all streams have begun", lambda: all(run.has_begun for run in every))
        for run in frozen:
            run.link.freeze()
        survivors = [run for run in quiet if run.setting or run.name not in HASTY]
        # The rows of the page that end too early do so before the first heartbeat, and the others see two.
        for run in quiet:
            if run not in survivors:
                wait_for(f"the default gives up: {run}", run.outcome.done)
                check("gives up before the first heartbeat", run.has_given_up and run.beats == 0, run)
        wait_for("two heartbeats", lambda: all(run.beats >= 2 or run.outcome.done() for run in survivors))
        server.report(session, "transcribed", 60)
        server.report(session, "processed", 100)
        for run in survivors:
            check("reads to the end", DONE in run.outcome.result(60), run)
        # The setting of the page notices a network that has frozen. Defaults without a time-out do not.
        for run in frozen:
            if run.setting:
                wait_for(f"gives up: {run}", run.outcome.done)
                check("gives up", run.has_given_up, run)
        for run in frozen:
            if not run.setting:
                check("waits", not run.outcome.done(), run)
        for title, runs in [("a quiet stream", quiet), ("a frozen network", frozen)]:
            for run in runs:
                print(f"  {title}: {run}", flush=True)
    finally:
        for run in every:
            run.link.close()


def main():
    chosen = settings()
    missing = [name for name in LIBRARIES if name not in WITHOUT and not chosen.get(name)]
    if missing:
        sys.exit(f"the table of docs/clients.md has no setting for {missing}")
    defaults()
    server = Server()
    try:
        follow_all(server, {name: found[0] for name, found in chosen.items() if found})
    finally:
        server.stop()


main()
