#!/usr/bin/python3
"""A server that misbehaves, for the tests of the clients. It follows the scripts of cases.json.

    misbehaving_server.py CASES

It prints its port, and serves until its standard input ends. A client gets http://127.0.0.1:PORT/RUN as the base URL,
where RUN is CASE~ANYTHING: each run of a case has its own state. GET /RUN/log tells what the server saw in the run.

A script has one list of steps for each connection to a stream, in order. docs/clients.md explains the steps.
"""

import base64
import hashlib
import json
import os
import re
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SESSION = "550e8400-e29b-41d4-a716-446655440000"
NAMES = {"a": SESSION, "b": "6fa459ea-ee8a-4ca4-894e-db77e160355e"}
STATE = re.compile(r"(?:(half|dribble|giant|broken) )?(?:(added) )?(?:([ab]) )?(\d+) ([a-z_]+) (\d+)(?: @(\S+))?")
GIANT = 700_000
ENDLESS = 64 * 1024 * 1024
SLOWNESS = float(os.environ.get("TEST_SLOWNESS", 1))
WORDS = "Größe 語 😀"


class Run:
    """What one run of a case has seen and what comes next."""

    def __init__(self, case):
        self.case = case
        self.lock = threading.Lock()
        self.connections = list(case.get("connections", []))
        self.refreshes = list(case.get("refreshes", []))
        self.faults = list(case.get("upload", {}).get("faults", []))
        self.access = 1
        self.is_valid = "callers" not in case
        self.tickets = set()
        self.left_at = None
        self.beats = threading.Semaphore(0)
        self.upload = None
        self.log = {"last_event_ids": [], "tokens": [], "gaps": [], "refreshes": 0, "spent_tickets": 0,
                    "tags": [], "creations": 0, "leaked": [], "unexpected": [],
                    # For a client with a clock of its own: the states sent, the heartbeats that came to their turn, and
                    # the number of the connection that hangs.
                    "sent": 0, "beats": 0, "hanging": 0}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    runs = {}
    cases = {}
    lock = threading.Lock()

    def log_message(self, *arguments):
        pass

    def date_time_string(self, timestamp=None):
        # The clock of the server is years off.
        return "Sat, 03 Feb 2001 04:05:06 GMT"

    # Dispatch

    def handle_any(self):
        url = urlsplit(self.path)
        _, name, path = url.path.split("/", 2)
        self.query = parse_qs(url.query)
        with self.lock:
            if name not in self.runs:
                self.runs[name] = Run(self.cases[name.split("~")[0]])
            self.run = self.runs[name]
        self.prefix = f"/{name}"
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) if self.command != "PATCH" else b""
        route = (self.command, re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "{id}", path))
        handlers = {
            ("GET", "log"): lambda: self.json(200, self.run.log),
            ("GET", "elsewhere"): self.elsewhere,
            ("POST", "beat"): lambda: (self.run.beats.release(), self.json(200, {})),
            ("POST", "api/auth/refresh"): self.refresh,
            ("POST", "api/auth/login"): lambda: self.json(200, self.pair(), cookie=True),
            ("GET", "api/auth/me"): lambda: self.guarded(lambda: self.json(200, {"id": SESSION, "role": "patient"})),
            ("GET", "api/sessions/{id}"): lambda: self.guarded(self.session),
            ("GET", "api/sessions"): self.list,
            ("GET", "api/sessions/{id}/status"): self.poll,
            ("GET", "api/sessions/{id}/status/stream"): self.stream,
            ("GET", "api/sessions/status/stream"): self.stream,
            ("GET", "api/sessions/{id}/status/ws"): self.socket,
            ("GET", "api/sessions/status/ws"): self.socket,
            ("POST", "api/sessions/{id}/status/ticket"): self.ticket,
            ("POST", "api/sessions/status/ticket"): self.ticket,
            ("POST", "api/uploads"): self.create,
            ("HEAD", "api/uploads/{id}"): self.head,
            ("PATCH", "api/uploads/{id}"): self.patch,
            ("DELETE", "api/uploads/{id}"): lambda: self.answer(204),
        }
        self.body = body
        handlers.get(route, lambda: self.unexpected(f"{self.command} {path}"))()

    do_GET = do_POST = do_HEAD = do_PATCH = do_DELETE = handle_any

    def unexpected(self, what):
        self.run.log["unexpected"].append(what)
        self.problem(404)

    # Answers

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, status, value, headers=(), cookie=False):
        headers = [("Content-Type", "application/json"), *headers]
        if cookie:
            headers.append(("Set-Cookie", f"tb_access=access-{self.run.access}; Path=/"))
        self.answer(status, json.dumps(value).encode(), headers)

    def problem(self, status, headers=(), kind="about:blank"):
        headers = [("Content-Type", "application/problem+json"), *headers]
        body = {"type": kind, "title": "Refused", "status": status, "detail": f"The answer is {status}.",
                "request_id": "test"}
        self.answer(status, json.dumps(body).encode(), headers)

    def cut(self):
        """Ends the connection without the end of the answer."""
        self.close_connection = True
        self.connection.shutdown(2)

    # Tokens

    @property
    def credential(self):
        bearer = self.headers.get("Authorization", "")
        if bearer.startswith("Bearer "):
            return bearer[7:]
        cookie = re.search(r"tb_access=([^;]+)", self.headers.get("Cookie", ""))
        return cookie[1] if cookie else None

    @property
    def is_authorised(self):
        return self.run.is_valid and self.credential == f"access-{self.run.access}"

    def guarded(self, work):
        self.problem(401) if not self.is_authorised else work()

    def pair(self):
        return {"access_token": f"access-{self.run.access}", "refresh_token": f"refresh-{self.run.access}",
                "token_type": "bearer", "expires_in": 1800, "user": {"id": SESSION, "role": "patient"}}

    def refresh(self):
        if "callers" in self.run.case:
            time.sleep(0.3)  # The other callers get their 401 meanwhile.
        token = json.loads(self.body or b"{}").get("refresh_token", f"refresh-{self.run.access}")
        with self.run.lock:
            if token != f"refresh-{self.run.access}":
                self.run.log["unexpected"].append("a spent refresh token")
            self.run.log["refreshes"] += 1
            step = self.run.refreshes.pop(0) if self.run.refreshes else "200"
            if step == "200":
                self.run.access += 1
                self.run.is_valid = True
        if step == "200":
            self.json(200, self.pair(), cookie=True)
        elif step == "cut":
            self.cut()
        else:
            self.problem(int(step), kind="/problems/account-inactive" if step == "403" else "about:blank")

    def ticket(self):
        with self.run.lock:
            ticket = f"ticket-{len(self.run.tickets) + 1}"
            self.run.tickets.add(ticket)
        self.guarded(lambda: self.json(200, {"ticket": ticket, "expires_in": 30}))

    def spend_ticket(self):
        """True unless the request has a ticket that was used before."""
        ticket = self.query.get("ticket", [None])[0]
        if ticket is None:
            return True
        with self.run.lock:
            if ticket in self.run.tickets and not ticket.endswith("-spent"):
                self.run.tickets.remove(ticket)
                self.run.tickets.add(ticket + "-spent")
                return True
            self.run.log["spent_tickets"] += 1
        return False

    def elsewhere(self):
        """The target of a redirect to another origin: it must get no token."""
        with self.run.lock:
            self.run.log["leaked"] += [name for name in ("Authorization", "Cookie") if self.headers.get(name)]
        self.answer(404)

    # Objects

    def progress(self, session, version, status, progress, message=WORDS):
        return {"session_id": session, "status": status, "progress": int(progress), "message": message,
                "error": "The recording is empty." if status == "failed" else None,
                "estimated_time_remaining": None, "segments": 0, "version": int(version), "attempt": 1,
                "created_at": "2001-02-03T04:05:06.000000Z", "updated_at": "2001-02-03T04:05:06.000000Z"}

    def session(self):
        self.json(200, {"id": self.path.split("/")[4], "patient_id": SESSION, "progress":
                        self.progress(SESSION, *self.run.case.get("session", "2 pending 20").split())})

    def step(self):
        """Notes a connection to a stream, and takes its script."""
        run = self.run
        with run.lock:
            if run.left_at is not None:
                run.log["gaps"].append(round((time.monotonic() - run.left_at) * 1000))
            last = self.headers.get("Last-Event-ID") or self.query.get("last_event_id", [None])[0]
            run.log["last_event_ids"].append(last)
            run.log["tokens"].append(self.credential or ("ticket" if "ticket" in self.query else None))
            if not run.connections:
                run.log["unexpected"].append("another connection")
                return ["404"]
            return run.connections.pop(0)

    # Streams

    def stream(self):
        script = self.step()
        try:
            if not self.spend_ticket():
                self.problem(401)
            elif re.match(r"\d{3}\b|silent|portal|redirect|away", script[0]):
                self.refuse(script[0])
            else:
                self.send_stream(script)
        except OSError:
            pass  # The client went away.
        finally:
            self.run.left_at = time.monotonic()

    def refuse(self, step):
        words = step.split()
        self.run.is_valid = words[0] != "401"
        if words[0] == "silent":
            self.hang()
        elif words[0] == "portal":
            self.answer(200, b"<html>Please pay for the WiFi</html>", [("Content-Type", "text/html")])
        elif words[0] in ("redirect", "away"):
            # Another port is another origin. 127.0.0.1 and localhost are two origins as well.
            host = f"http://localhost:{self.server.server_port}" if words[0] == "away" else ""
            path = "/elsewhere" if words[0] == "away" else "/api/sessions/status/stream"
            self.answer(307, headers=[("Location", host + self.prefix + path)])
        elif len(words) == 1 or words[1] == "inactive":
            if words[0] == "204":
                self.answer(204)
            else:
                inactive = len(words) > 1
                self.problem(int(words[0]), kind="/problems/account-inactive" if inactive else "about:blank")
        else:
            self.problem(int(words[0]), [("Retry-After", " ".join(words[2:]))])

    def send_stream(self, script):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        self.line_end = "\n"
        for step in script:
            if step in ("lf", "crlf", "cr"):
                self.line_end = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}[step]
            elif step == "cut":
                return self.cut()
            elif step == "end":
                return self.wfile.write(b"0\r\n\r\n")
            elif step == "hang":
                return self.hang()
            elif step == "endless":
                return self.endless()
            elif step == "beat":
                self.beat()
                self.chunk(": heartbeat\n\n")
            elif step == "bom":
                self.chunk("\ufeff")
            elif step.startswith("retry "):
                self.chunk(f"retry: {step[6:]}\n")  # As at SIGTERM: without a blank line.
            elif step.startswith("raw "):
                self.chunk(step[4:])
            elif step == "unavailable":
                self.chunk("retry: 30\nevent: unavailable\ndata: {}\n\n")
            elif STATE.fullmatch(step):
                self.send_state(*STATE.fullmatch(step).groups())
            else:
                name, session, position = re.fullmatch(r"(\w+)(?: ([ab]))?(?: @(\S+))?", step).groups()
                name = "session_removed" if name == "removed" else name
                data = json.dumps({"session_id": NAMES[session]} if session else {})
                self.chunk((f"id: {position}\n" if position else "") + f"event: {name}\ndata: {data}\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def send_state(self, way, added, session, version, status, percent, position):
        event = {"processed": "complete", "failed": "error"}.get(status, "progress")
        if added:
            event = "session_added"
        message = "g" * GIANT if way == "giant" else WORDS
        state = self.progress(NAMES[session or "a"], version, status, percent, message)
        identifier = position if session else version
        text = "" if identifier is None else f"id: {identifier}\n"
        data = json.dumps(state, ensure_ascii=False, separators=(",", ":"))
        if way == "broken":
            data = data[:40]
        frame = (text + f"event: {event}\ndata: {data}\n\n").replace("\n", self.line_end).encode()
        self.run.log["sent"] += way not in ("half", "broken")
        if way == "half":
            self.chunk(frame[: len(frame) // 2])
        elif way == "dribble":
            for index in range(len(frame)):
                self.chunk(frame[index:index + 1])
        else:
            self.chunk(frame)

    def chunk(self, text):
        data = text if isinstance(text, bytes) else text.replace("\n", self.line_end).encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def beat(self):
        """Waits before a heartbeat. A client with a clock of its own asks for each of them by POST /RUN/beat."""
        self.run.log["beats"] += 1
        if "~by-hand" in self.prefix:
            self.run.beats.acquire(timeout=60 * SLOWNESS)
        else:
            time.sleep(0.5 * SLOWNESS)

    def hang(self):
        """Sends nothing more, until the client goes away."""
        self.run.log["hanging"] = len(self.run.log["last_event_ids"])
        self.await_end()

    def await_end(self):
        self.connection.settimeout(60)
        while self.connection.recv(4096):
            pass
        self.close_connection = True

    def endless(self):
        self.chunk("data: ")
        piece = b"x" * 65_536
        for _ in range(ENDLESS // len(piece)):
            self.chunk(piece)
        self.run.log["unexpected"].append("the client read an endless event to its end")
        self.cut()

    # The poll

    def poll(self):
        with self.run.lock:
            self.run.log["tags"].append(self.headers.get("If-None-Match"))
        script = self.step()
        words = script[0].split()
        if words[0] == "304":
            self.answer(304, headers=[("ETag", self.headers["If-None-Match"])])
        elif len(words) < 3:
            self.refuse(script[0])
        else:
            self.run.log["sent"] += 1
            self.json(200, self.progress(self.path.split("/")[4], *words[:3]), [("ETag", f'"{words[0]}"')])
        self.run.left_at = time.monotonic()

    def list(self):
        """A page of sessions. `done N` says how many sessions are processed, and `more` that another page follows."""
        with self.run.lock:
            self.run.log["tags"].append(self.headers.get("If-None-Match"))
        script = self.step()
        known = self.headers.get("If-None-Match")
        if script[0] == "304" and known:
            self.answer(304, headers=[("ETag", known)])
        elif re.fullmatch(r"\d{3}|portal", script[0]):
            self.refuse(script[0])
        else:
            found = [STATE.fullmatch(step).groups() for step in script if STATE.fullmatch(step)]
            done = [step for step in script if step.startswith("done ")]
            items = [{"id": NAMES[name], "progress": self.progress(NAMES[name], version, status, percent)}
                     for _, _, name, version, status, percent, _ in found]
            page = {"items": items, "next_cursor": "after" if "more" in script else None}
            if "cursor" not in self.query:
                page["counts"] = {"processed": int(done[0].split()[1]) if done else 0}
            tag = "-".join(f"{name}{version}" for _, _, name, version, *_ in found)
            self.json(200, page, [("ETag", f'"{tag}"')])
        self.run.left_at = time.monotonic()

    # WebSocket

    def socket(self):
        script = self.step()
        if re.match(r"\d{3}\b|silent|portal", script[0]):
            # A proxy answers in place of the server, which completes every handshake.
            self.refuse(script[0])
        else:
            if not self.spend_ticket():
                script = ["close 1008 unauthorized"]
            try:
                self.send_socket(script)
            except OSError:
                pass
        self.run.left_at = time.monotonic()

    def send_socket(self, script):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        head = (f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
                f"{base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()}\r\n\r\n").encode()
        self.close_connection = True
        # The first frame comes in the same packet as the head.
        frame, script = (self.message(script[0]), script[1:]) if STATE.fullmatch(script[0]) else (b"", script)
        self.wfile.write(head + frame)
        for before, step in zip([None] + script, script):
            if step.startswith("half ") or (step == "cut" and not (before or "").startswith("half ")):
                # A client may lose what the end of the connection overtakes. The pong says that it has read the rest.
                self.wfile.write(self.frame(9, b"still here?"))
                self.await_pong()
            if step.startswith("close "):
                _, code, reason = step.split(" ", 2)
                self.wfile.write(self.frame(8, struct.pack(">H", int(code)) + reason.encode()))
                return self.await_end()
            elif step == "cut":
                return self.cut()
            elif step == "hang":
                return self.hang()
            elif step == "beat":
                self.beat()
                self.wfile.write(self.frame(9, b"still here?"))
                self.await_pong()
            elif step == "endless":
                self.wfile.write(b"\x81\x7f" + struct.pack(">Q", ENDLESS))
                return self.hang()
            elif step.startswith("ready"):
                self.wfile.write(self.frame(1, json.dumps({"event": "ready", "id": step[6:], "data": {}}).encode()))
            elif step == "removed b":
                data = {"event": "session_removed", "id": None, "data": {"session_id": NAMES["b"]}}
                self.wfile.write(self.frame(1, json.dumps(data).encode()))
            else:
                self.wfile.write(self.message(step))

    def message(self, step):
        """The frames of a state. `dribble` splits its message into frames of 50 bytes, with pings between them."""
        way, added, session, version, status, percent, position = STATE.fullmatch(step).groups()
        state = self.progress(NAMES[session or "a"], version, status, percent, "g" * GIANT if way == "giant" else WORDS)
        if session:
            state = {"event": "session_added" if added else "progress", "id": position, "data": state}
        data = json.dumps(state, ensure_ascii=False).encode()
        self.run.log["sent"] += way not in ("half", "broken")
        if way == "broken":
            return self.frame(1, data[:40])
        if way == "half":
            return self.frame(1, data)[: len(data) // 2]
        if way == "dribble":
            parts = [data[start:start + 50] for start in range(0, len(data), 50)]
            return b"".join(self.frame(0 if index else 1, part, index == len(parts) - 1) + self.frame(9, b"")
                            for index, part in enumerate(parts))
        return self.frame(1, data)

    @staticmethod
    def frame(opcode, data, is_last=True):
        size = len(data)
        length = bytes([size]) if size < 126 else struct.pack(">BH", 126, size) if size < 65_536 else struct.pack(">BQ", 127, size)
        return bytes([(0x80 if is_last else 0) | opcode]) + length + data

    def await_pong(self):
        """Reads frames of the client, until one of them answers a ping."""
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                raise ConnectionError
            if not head[1] & 0x80:
                self.run.log["unexpected"].append("a frame without a mask")
            mask, data = self.rfile.read(4), self.rfile.read(head[1] & 0x7F)
            if head[0] == 0x8A:
                if bytes(byte ^ mask[index % 4] for index, byte in enumerate(data)) != b"still here?":
                    self.run.log["unexpected"].append("a wrong pong")
                return

    # Uploads

    def create(self):
        run = self.run
        run.log["creations"] += 1
        if not self.is_authorised:
            return self.problem(401)
        metadata = {key: base64.b64decode(value).decode() for key, value in
                    (pair.split(" ") for pair in self.headers["Upload-Metadata"].split(","))}
        if run.upload is None or run.upload["session"] != metadata["session_id"]:
            run.upload = {"length": int(self.headers["Upload-Length"]), "bytes": b"", "session": metadata["session_id"],
                          "metadata": metadata}
            run.log["metadata"] = metadata
        fault = run.faults.pop(0) if run.faults and run.faults[0].startswith("creation ") else None
        if fault == "creation lost":
            return self.cut()
        if fault:
            return self.problem(int(fault.split()[1]), [("Retry-After", "0")])
        self.answer(201, headers=[("Location", f"{self.prefix}/api/uploads/{SESSION}"), ("Tus-Resumable", "1.0.0"),
                                  ("Upload-Offset", str(len(run.upload["bytes"])))])

    def offset(self):
        upload = self.run.upload
        headers = [("Tus-Resumable", "1.0.0"), ("Upload-Offset", str(len(upload["bytes"]))),
                   ("Upload-Length", str(upload["length"])), ("Cache-Control", "no-store")]
        if len(upload["bytes"]) == upload["length"]:
            headers.append(("Content-Location", f"{self.prefix}/api/sessions/{upload['session']}"))
            self.run.log["digest"] = hashlib.sha256(upload["bytes"]).hexdigest()
        return headers

    def head(self):
        if not self.is_authorised:
            return self.problem(401)
        if self.run.log.get("gone"):
            return self.problem(410)
        self.answer(200, headers=self.offset())

    def patch(self):
        run = self.run
        length = int(self.headers["Content-Length"])
        fault = run.faults.pop(0) if run.faults else None
        if fault and fault.startswith("cut after "):
            # What has arrived is kept, unless a checksum came with it.
            arrived = self.rfile.read(min(length, int(fault.split()[2])))
            if "Upload-Checksum" not in self.headers:
                run.upload["bytes"] += arrived
            return self.cut()
        body = self.rfile.read(length)
        if not self.is_authorised:
            return self.problem(401)
        if fault == "wrong checksum":
            return self.problem(460)
        if fault == "gone":
            run.log["gone"] = True
            return self.problem(410)
        if fault and fault[0].isdigit():
            return self.problem(int(fault.split()[0]), [("Retry-After", "0")])
        if int(self.headers["Upload-Offset"]) != len(run.upload["bytes"]):
            return self.problem(409)
        checksum = self.headers.get("Upload-Checksum")
        if checksum and checksum != "sha256 " + base64.b64encode(hashlib.sha256(body).digest()).decode():
            run.log["unexpected"].append("a wrong checksum")
            return self.problem(460)
        run.upload["bytes"] += body
        if fault == "answer lost":
            self.offset()
            return self.cut()
        self.answer(204, headers=self.offset())


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        Handler.cases = {case["name"]: case for case in json.load(file)["cases"]}
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
