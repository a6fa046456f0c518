"""Every WebSocket client follows a session to its end over a connection that is cut, and the stream of all sessions."""
import asyncio
import concurrent.futures
import json
import os
import socket
import sys
import threading

from scene import SHOWN, WORDS, Link, Server, wait_for

# A ping comes every 30 s.
SILENCE = 60


def headers(token):
    return {"Authorization": f"Bearer {token}"}


def asynchronous(function):
    def run(url, token, receive):
        asyncio.run(function(url, token, receive))

    return run


@asynchronous
async def websockets(url, token, receive):
    from websockets.asyncio.client import connect

    async with connect(url, additional_headers=headers(token)) as connection:
        async for text in connection:
            receive(text)
        assert connection.close_code == 1000, connection.close_code


def websockets_sync(url, token, receive):
    from websockets.sync.client import connect

    with connect(url, additional_headers=headers(token)) as connection:
        for text in connection:
            receive(text)


def websocket_client(url, token, receive):
    import websocket

    connection = websocket.create_connection(url, header=headers(token), timeout=SILENCE)
    while text := connection.recv():
        receive(text)


@asynchronous
async def aiohttp(url, token, receive):
    import aiohttp

    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, headers=headers(token)) as connection:
            async for message in connection:
                receive(message.data)
            if connection.close_code != 1000:
                raise ConnectionError(f"closed with {connection.close_code}")


def httpx_ws(url, token, receive):
    import httpx
    import httpx_ws

    with httpx.Client(timeout=SILENCE) as client:
        with httpx_ws.connect_ws(url, client, headers=headers(token)) as connection:
            try:
                while True:
                    receive(connection.receive_text())
            except httpx_ws.WebSocketDisconnect as end:
                if end.code != 1000:
                    raise


def simple_websocket(url, token, receive):
    import simple_websocket

    connection = simple_websocket.Client.connect(url, headers=headers(token))
    try:
        while True:
            receive(connection.receive())
    except simple_websocket.ConnectionClosed as end:
        if end.reason != 1000:
            raise


def wsproto(url, token, receive):
    from urllib.parse import urlsplit

    from wsproto import ConnectionType, WSConnection
    from wsproto.events import CloseConnection, Ping, Request, TextMessage

    address = urlsplit(url)
    machine = WSConnection(ConnectionType.CLIENT)
    with socket.create_connection((address.hostname, address.port), timeout=SILENCE) as connection:
        target = address.path + (f"?{address.query}" if address.query else "")
        fields = [(name.encode(), value.encode()) for name, value in headers(token).items()]
        connection.sendall(machine.send(Request(host=address.netloc, target=target, extra_headers=fields)))
        text = ""
        while piece := connection.recv(65536):
            machine.receive_data(piece)
            for event in machine.events():
                if isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        receive(text)
                        text = ""
                elif isinstance(event, Ping):
                    connection.sendall(machine.send(event.response()))
                elif isinstance(event, CloseConnection):
                    connection.sendall(machine.send(event.response()))
                    if event.code != 1000:
                        raise ConnectionError(event)
                    return
    raise ConnectionError("lost")


CLIENTS = {
    "aiohttp": aiohttp, "httpx-ws": httpx_ws, "simple-websocket": simple_websocket, "websocket-client": websocket_client,
    "websockets, asynchronous": websockets, "websockets": websockets_sync, "wsproto": wsproto,
}


class Follower:
    """A client in a thread, which connects again with the last version until it has the last state."""

    def __init__(self, client, base, path, token, mark):
        self.client, self.url, self.token, self.mark = client, base.replace("http", "ws", 1) + path, token, mark
        self.messages, self.errors, self.openings, self.isEnough = [], [], 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.isEnough and self.openings < 20:
            self.openings += 1
            last = next((mark for message in reversed(self.messages) if (mark := self.mark(message)) is not None), None)
            try:
                self.client(self.url + (f"?last_event_id={last}" if last else ""), self.token, self.receive)
            except Exception as error:
                self.errors.append(repr(error))
            if self.messages and self.messages[-1].get("status") in ("processed", "failed"):
                return

    def receive(self, text):
        self.messages.append(json.loads(text))


def one(server, name):
    """A session to its end, with a cut; every transition once and in order."""
    session, link = server.new_session(), Link(server.port)
    follower = Follower(
        CLIENTS[name], link.url, f"/api/sessions/{session}/status/ws", server.therapist, lambda message: message["version"])

    def wait(status):
        wait_for(f"{name} has {status}: {follower.errors}", lambda: any(m["status"] == status for m in follower.messages))

    wait("pending")
    server.report(session, "transcribing", 20, WORDS)
    wait("transcribing")
    link.cut()
    server.report(session, "transcribed", 60, "while it was cut")
    server.report(session, "extracting_notes", 60, WORDS)
    wait("extracting_notes")
    server.report(session, "processed", 100)
    wait("processed")
    follower.thread.join(30)
    assert not follower.thread.is_alive(), "does not end"
    link.close()
    assert follower.openings >= 2, "was not cut"
    statuses = [message["status"] for message in follower.messages]
    transitions = [status for before, status in zip([None] + statuses, statuses) if status != before]
    assert transitions == ["pending", "transcribing", "transcribed", "extracting_notes", "processed"], statuses
    versions = [message["version"] for message in follower.messages]
    # A resumed WebSocket begins with the present state, which may be the last one.
    assert versions == sorted(versions), versions
    texts = {"transcribing": SHOWN, "transcribed": "while it was cut", "extracting_notes": SHOWN}
    for message in follower.messages:
        assert message["message"] == texts.get(message["status"], message["message"]), message


def every(server, name):
    """All sessions: what a session begun later does, and what happens while the connection is cut."""
    link = Link(server.port)
    follower = Follower(CLIENTS[name], link.url, "/api/sessions/status/ws", server.therapist, lambda message: message["id"])

    def wait(what, condition):
        wait_for(f"{name} has {what}: {follower.errors}", lambda: any(condition(message) for message in list(follower.messages)))

    wait("ready", lambda message: message["event"] == "ready")
    session = server.new_session()
    wait("session_added", lambda m: m["event"] == "session_added" and m["data"]["session_id"] == session)
    link.cut()
    for status, progress in ("transcribing", 20), ("transcribed", 60), ("extracting_notes", 60), ("processed", 100):
        server.report(session, status, progress, WORDS)
    wait("complete", lambda m: m["event"] == "complete" and m["data"]["session_id"] == session)
    follower.isEnough = True
    link.close()
    follower.thread.join(30)
    found = [m["data"]["status"] for m in follower.messages if m["data"].get("session_id") == session and m["event"] in ("progress", "complete")]
    transitions = [status for before, status in zip([None] + found, found) if status != before]
    wanted = ["transcribing", "transcribed", "extracting_notes", "processed"]
    assert [status for status in transitions if status in wanted] == wanted, transitions


def main():
    server = Server()
    failed = False
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            names = sys.argv[1:] or list(CLIENTS)
            found = {(name, test.__name__): pool.submit(test, server, name) for name in names for test in (one, every)}
            for (name, test), result in found.items():
                try:
                    result.result()
                    print(f"  {name}, {test}: passed", flush=True)
                except Exception as error:
                    failed = True
                    print(f"  {name}, {test}: FAILED: {error!r}", flush=True)
    finally:
        server.stop()
    sys.stdout.flush()
    # A client that failed may still run.
    os._exit(1 if failed else 0)


main()
