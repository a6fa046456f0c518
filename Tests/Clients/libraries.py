"""How to follow a stream with each client of Server-Sent Events: NAME -> function(url, token, last id) -> events.

An event is (type, id, data) as the library hands it on. The snippets of docs/sse-clients.md are these functions.
"""
import asyncio
import json
import os
import queue
import subprocess
import threading
import urllib.request

# Heartbeats come every 15 s unless the server is set otherwise. A read that waits four times as long has lost its server.
SILENCE = 60

# Errors after which the suite shall not go on.
GIVEN_UP = (ImportError, NameError, AttributeError)

ALL = {}


def library(name):
    """Registers a function; an asynchronous generator becomes a plain one."""

    def register(function):
        ALL[name] = function
        return function

    return register


def asynchronous(function):
    def run(url, token, last):
        loop = asyncio.new_event_loop()
        events = function(url, token, last)
        try:
            while True:
                try:
                    event = loop.run_until_complete(events.__anext__())
                except StopAsyncIteration:
                    return
                yield event
        finally:
            loop.run_until_complete(events.aclose())
            loop.close()

    return run


def by_callback(function):
    """Runs a function that calls back, and yields what it hands on."""

    def run(url, token, last):
        events, end = queue.Queue(), object()

        def work():
            try:
                function(url, token, last, lambda *event: events.put(event))
                events.put(end)
            except Exception as error:
                events.put(error)

        threading.Thread(target=work, daemon=True).start()
        while (event := events.get()) is not end:
            if isinstance(event, Exception):
                raise event
            yield event

    return run


def headers(token, last):
    return {"Authorization": f"Bearer {token}", **({"Last-Event-ID": last} if last else {})}


def accepting(token, last):
    """For libraries that parse a response, and do not send the request."""
    return {**headers(token, last), "Accept": "text/event-stream"}


@library("aiohttp-sse-client")
@asynchronous
async def aiohttp_sse_client(url, token, last):
    from aiohttp_sse_client.client import EventSource

    async with EventSource(url, headers=headers(token, last)) as source:
        async for event in source:
            yield event.type, event.last_event_id, event.data


@library("aiohttp-sse-client2")
@asynchronous
async def aiohttp_sse_client2(url, token, last):
    from aiohttp_sse_client2.client import EventSource

    async with EventSource(url, headers=headers(token, last)) as source:
        async for event in source:
            yield event.type, event.last_event_id, event.data


@library("aiossechat")
@asynchronous
async def aiossechat(url, token, last):
    from aiossechat import aiosseclient

    async for event in aiosseclient(url, headers=headers(token, None), last_id=last):
        yield event.event, event.id, event.data


@library("aiosseclient")
@asynchronous
async def aiosseclient(url, token, last):
    from aiosseclient import aiosseclient

    async for event in aiosseclient(url, headers=headers(token, None), last_id=last):
        yield event.event, event.id, event.data


@library("filigran-sseclient")
def filigran_sseclient(url, token, last):
    from filigran_sseclient import SSEClient

    for event in SSEClient(url, last_id=last, headers=headers(token, None)):
        yield event.event, event.id, event.data


@library("httpx-sse")
def httpx_sse(url, token, last):
    import httpx
    from httpx_sse import connect_sse

    with httpx.Client(timeout=SILENCE) as client:
        with connect_sse(client, "GET", url, headers=headers(token, last)) as source:
            if source.response.status_code == 204:
                return
            for event in source.iter_sse():
                yield event.event, event.id, event.data


@library("httpx-sse, asynchronous")
@asynchronous
async def httpx_sse_async(url, token, last):
    import httpx
    from httpx_sse import aconnect_sse

    async with httpx.AsyncClient(timeout=SILENCE) as client:
        async with aconnect_sse(client, "GET", url, headers=headers(token, last)) as source:
            if source.response.status_code == 204:
                return
            async for event in source.aiter_sse():
                yield event.event, event.id, event.data


@library("larzsse")
def larzsse(url, token, last):
    from larzsse import connect

    # It can send no header: a ticket opens the stream, and the query resumes it.
    request = urllib.request.Request(url.removesuffix("stream") + "ticket", method="POST", headers=headers(token, None))
    with urllib.request.urlopen(request) as answer:
        ticket = json.load(answer)["ticket"]
    for event in connect(f"{url}?ticket={ticket}" + (f"&last_event_id={last}" if last else ""), timeout=SILENCE):
        yield event.event, event.id, event.data


@library("launchdarkly-eventsource")
def launchdarkly_eventsource(url, token, last):
    from ld_eventsource import SSEClient
    from ld_eventsource.config import ConnectStrategy, ErrorStrategy

    client = SSEClient(
        ConnectStrategy.http(url, headers=headers(token, None)), last_event_id=last,
        error_strategy=ErrorStrategy.continue_with_max_attempts(5))
    for event in client.events:
        yield event.event, event.last_event_id, event.data


@library("launchdarkly-eventsource, asynchronous")
@asynchronous
async def launchdarkly_eventsource_async(url, token, last):
    from ld_eventsource.async_client import AsyncSSEClient
    from ld_eventsource.config import ErrorStrategy
    from ld_eventsource.config.async_connect_strategy import AsyncConnectStrategy

    client = AsyncSSEClient(
        AsyncConnectStrategy.http(url, headers=headers(token, None)), last_event_id=last,
        error_strategy=ErrorStrategy.continue_with_max_attempts(5))
    async for event in client.events:
        yield event.event, event.last_event_id, event.data


@library("niquests")
def niquests(url, token, last):
    import niquests

    # "psse" is Server-Sent Events without TLS, and "sse" with it.
    response = niquests.get("psse" + url.removeprefix("http"), headers=headers(token, last), timeout=SILENCE)
    if response.extension is None:
        return
    while not response.extension.closed:
        event = response.extension.next_payload()
        if event is None:
            return
        yield event.event, event.id, event.data


@library("parse-sse")
def parse_sse(url, token, last):
    import requests
    from parse_sse import parse_sse

    for event in parse_sse(requests.get(url, headers=accepting(token, last), stream=True, timeout=SILENCE)):
        yield event["event"], None, event["data"]


@library("py-sse-client")
@by_callback
def py_sse_client(url, token, last, hand_on):
    from pysse import Client

    client = Client(
        url, lambda event: hand_on(event.name, None, json.dumps(event.data) if event.data else ""),
        headers=accepting(token, last))
    asyncio.run(client.connect())


@library("pydantic-httpx")
@asynchronous
async def pydantic_httpx(url, token, last):
    from pydantic_httpx import Client

    async with Client(timeout=SILENCE) as client:
        async for event in client.sse(url, headers=headers(token, last)):
            yield event.event, event.id, event.data


@library("requests-sse")
def requests_sse(url, token, last):
    from requests_sse import EventSource

    with EventSource(url, headers=headers(token, None), latest_event_id=last, timeout=SILENCE) as source:
        for event in source:
            yield event.type, event.last_event_id, event.data


@library("simple-sse-client")
def simple_sse_client(url, token, last):
    from simple_sse_client import stream

    for event in stream(url, headers=headers(token, last), timeout=SILENCE):
        yield event.event, event.id, event.data


@library("sse-json-parser")
def sse_json_parser(url, token, last):
    import requests
    from sse_json_parser import SSEParser

    response = requests.get(url, headers=accepting(token, last), stream=True, timeout=SILENCE)
    for data in SSEParser().parse(response.iter_content(chunk_size=None)):
        yield None, None, json.dumps(data)


@library("ssec")
@by_callback
def ssec(url, token, last, hand_on):
    from ssec import EventSource

    source = EventSource(url, headers=headers(token, last))
    for name in ("progress", "complete", "error", "message", "revoked", "expired", "unavailable"):
        source.add_event_listener(name, lambda event: hand_on(event.type, None, event.data))
    source.open()


@library("sseclient")
def sseclient(url, token, last):
    from sseclient import SSEClient

    for event in SSEClient(url, last_id=last, headers=headers(token, None)):
        yield event.event, event.id, event.data


@library("sseclient-py")
def sseclient_py(url, token, last):
    import requests
    from sseclient import SSEClient

    response = requests.get(url, headers=accepting(token, last), stream=True, timeout=SILENCE)
    for event in SSEClient(response).events():
        yield event.event, event.id, event.data


@library("stellar-base-sseclient")
def stellar_base_sseclient(url, token, last):
    from sseclient import SSEClient

    for event in SSEClient(url, last_id=last, headers=headers(token, None)):
        yield event.event, event.id, event.data


@library("httpx-sse, the loop of docs/sse-clients.md")
def documented(url, token, last):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "sse-clients.md")) as file:
        code = file.read().split("```python\n")[1].split("```")[0]
    names = {}
    exec(code, names)
    for progress in names["follow"](url, token, last):
        yield None, str(progress["version"]), json.dumps(progress)


@library("curl")
def curl(url, token, last):
    command = ["curl", "--silent", "--show-error", "--fail", "--no-buffer", url]
    for name, value in headers(token, last).items():
        command += ["--header", f"{name}: {value}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        fields = {}
        # Bytes: a text has more ends of lines than Server-Sent Events.
        for line in process.stdout:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "data" in fields:
                yield fields.get("event"), fields.get("id"), fields["data"]
                fields = {}
            else:
                fields = {}
