"""A client of TherapyBridge, in one file. It needs httpx 0.23 or later and Python 3.9 or later.

    from therapybridge import TherapyBridge

    with TherapyBridge("https://bridge.example.org") as bridge:
        bridge.sign_in("t@example.org", password)
        for progress in bridge.watch(session_id):
            print(progress["status"], progress["progress"])

`AsyncTherapyBridge` has the same methods for asyncio. docs/clients.md describes the client, and Tests/Clients/cases.json
says what it does when the server misbehaves. It never reads the clock of the device, which may be wrong.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email.utils
import hashlib
import json
import os
import random
import socket
import struct
import threading
import time
import uuid
from urllib.parse import quote, urljoin, urlsplit

import httpx

__all__ = ["ApiError", "AsyncTherapyBridge", "TherapyBridge", "WatchEnded"]

# Errors


class ApiError(Exception):
    """A request that failed. `status` is 0 if no answer came."""

    def __init__(self, status, problem=None, retry_after=None):
        problem = problem if isinstance(problem, dict) else {}
        self.status = status
        self.type = problem.get("type") or "about:blank"
        self.detail = problem.get("detail") or problem.get("title") or f"The server answered with {status}."
        self.errors = problem.get("errors") or []
        self.request_id = problem.get("request_id")
        #: The seconds after which the server takes the request again, or None.
        self.retry_after = retry_after
        super().__init__(f"{status}: {self.detail}" if status else self.detail)

    @property
    def is_temporary(self):
        """True if the same request can succeed later."""
        return self.status in (0, 408, 423, 425, 429, 507) or (self.status >= 500 and self.status not in (501, 505))


class WatchEnded(Exception):
    """The end of a watch for another reason than the end of its session.

    `reason` is revoked, signed-out, account-inactive, forbidden, not-found or refused.
    """

    def __init__(self, reason, detail=""):
        self.reason = reason
        super().__init__(detail or reason)


def _unreachable():
    return ApiError(0, {"detail": "The server cannot be reached."})


def _error(response, body):
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None  # A proxy in front of the server may answer with HTML or with nothing.
    return ApiError(response.status_code, problem, _retry_after(response.headers))


def _retry_after(headers):
    """`Retry-After` in seconds, or None. A date is compared with the server's own `Date`, never with our clock."""
    value = headers.get("Retry-After", "")
    if value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    try:
        until, now = (email.utils.parsedate_to_datetime(text) for text in (value, headers.get("Date", "")))
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):
        return None


def _back_off(base, failures, at_least=None):
    """Seconds that double up to 30, and are never fewer than the server asked for. Jitter spreads the clients."""
    wait = max(min(30.0, base * 2 ** min(failures, 16)), base, at_least or 0)
    return wait * (1 + random.random() / 2)


# The format of Server-Sent Events


class _EventTooLarge(Exception):
    pass


class EventParser:
    """Reads the bytes of a stream. A line is decoded as a whole: the network may split a character."""

    LIMIT = 8 * 1024 * 1024

    def __init__(self):
        #: The reconnection delay that the server named last, in seconds, or None.
        self.retry = None
        self._pieces = []
        self._data = []
        self._event = ""
        self._id = None
        self._size = 0
        self._skips_line_feed = False
        self._is_first_line = True

    @property
    def is_inside_event(self):
        return bool(self._pieces or self._data)

    def feed(self, chunk):
        """Returns the events that end in these bytes, as tuples (name, id, data)."""
        events = []
        if self._skips_line_feed and chunk:
            self._skips_line_feed = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        lines = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._skips_line_feed = chunk.endswith(b"\r")
        for line in lines[:-1]:
            self._pieces.append(line)
            event = self._take(b"".join(self._pieces))
            self._pieces = []
            if event:
                events.append(event)
        if lines[-1]:
            self._pieces.append(lines[-1])
            self._size += len(lines[-1])
        if self._size > self.LIMIT:
            raise _EventTooLarge()
        return events

    def _take(self, line):
        if self._is_first_line:
            self._is_first_line = False
            line = line[3:] if line.startswith(b"\xef\xbb\xbf") else line
        if not line:
            event = (self._event or "message", self._id, "\n".join(self._data)) if self._data else None
            self._data, self._event, self._id, self._size = [], "", None, 0
            return event
        self._size += len(line)
        field, _, value = line.partition(b":")
        value = (value[1:] if value[:1] == b" " else value).decode("utf-8", "replace")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._event = value
        elif field == b"id" and "\0" not in value:
            self._id = value
        elif field == b"retry" and value.isascii() and value.isdigit():
            # A server in trouble must not send its clients away for ever.
            self.retry = min(int(value[:10]), 600_000) / 1000
        return None


# What a watch does about each event: values without I/O


class _Versions:
    """Drops duplicate and late states by their versions.

    A server that restored an older backup begins a connection with lower versions than the client has. Those are the
    truth, and the client takes them.
    """

    def __init__(self, follows_all):
        self._follows_all = follows_all
        self._known = {}
        self.opened()

    def opened(self):
        self._is_first = self._is_opening = True
        self._low = {}  # On a stream of all sessions, until its `ready` settles them.

    def accepts(self, state):
        session, version = state["session_id"], state["version"]
        known = self._known.get(session, 0)
        was_first, self._is_first = self._is_first, False
        if self._follows_all and self._is_opening and version < known:
            if self._low.get(session, {"version": 0})["version"] <= version:
                self._low[session] = state
            return False
        self._low.pop(session, None)
        if version > known or (version < known and was_first and not self._follows_all):
            self._known[session] = version
            return True
        return False

    def ready(self):
        restored = list(self._low.values())
        for state in restored:
            self._known[state["session_id"]] = state["version"]
        self._is_opening, self._low = False, {}
        return restored

    def remove(self, session):
        self._known.pop(session, None)
        self._low.pop(session, None)


class _Outcome:
    """How a connection ended: `ended`, `lost`, `planned`, `expired`, `unauthorized` or `busy`."""

    def __init__(self, kind, reason=None, detail="", after=None):
        self.kind, self.reason, self.detail, self.after = kind, reason, detail, after

    @classmethod
    def of(cls, error):
        if error.status == 401:
            return cls("unauthorized")
        if error.status == 403:
            is_inactive = error.type.endswith("/account-inactive")
            return cls("ended", "account-inactive" if is_inactive else "forbidden", error.detail)
        if error.status == 404:
            return cls("ended", "not-found", error.detail)
        if error.is_temporary:
            return cls("lost", after=error.retry_after)
        return cls("ended", "refused", error.detail)


_STATES = {"progress", "complete", "error", "session_added"}


class _Machine:
    """Decides. The generators below act."""

    def __init__(self, follows_all, last_event_id, retry, on_state):
        self.last_event_id = last_event_id
        self.retry = retry
        self.state = None
        self._follows_all = follows_all
        self._on_state = on_state
        self._versions = _Versions(follows_all)
        self._failures = self._refusals = 0
        self._was_live = False
        self._last = {}  # The newest state of one session.
        #: What the polls have seen, over all connections.
        self.poller = None
        self._set("connecting")

    def _set(self, state, reason=None):
        if state != self.state:
            self.state = state
            if self._on_state:
                self._on_state(state, reason)

    def opened(self):
        self._versions.opened()
        if self.state == "offline" and self._was_live:
            self._set("catching-up")

    def polled(self):
        """A poll is answered with states, which are the newest ones."""
        self._versions.opened()

    def settled(self):
        """All states of a poll of all sessions are received. Returns those that a restore has set back."""
        restored = [self._item("progress", None, state) for state in self._versions.ready()]
        self.live()
        return restored

    def live(self):
        self._failures = self._refusals = 0
        self._was_live = True
        self._set("live")

    def receive(self, name, identifier, text):
        """Handles an event. Returns items for the caller, and the outcome if the connection ends with it."""
        try:
            data = json.loads(text)
        except ValueError:
            return [], None  # Its id is not kept: a reconnect gets the state again.
        if not isinstance(data, dict):
            return [], None
        if name in _STATES:
            return self._receive_state(name, identifier, data)
        if name == "ready":
            restored = [self._item("progress", None, state) for state in self._versions.ready()]
            self.live()
            self._keep(identifier)
            return restored + [self._item(name, identifier, data)], None
        if name == "session_removed":
            self._versions.remove(data.get("session_id"))
            self._keep(identifier)
            return [self._item(name, identifier, data)], None
        if name == "degraded":
            self._set("degraded")
        elif name == "recovered":
            self.live()
        elif name == "unavailable":
            return [], _Outcome("busy")
        elif name == "revoked":
            return [], _Outcome("ended", "revoked", "The right to see this has ended.")
        elif name == "expired":
            return [], _Outcome("expired")
        return [], None  # A newer server has more events.

    def _item(self, name, identifier, data):
        return {"event": name, "id": identifier, "data": data} if self._follows_all else data

    def _keep(self, identifier):
        if self._follows_all and identifier:
            self.last_event_id = identifier

    def _receive_state(self, name, identifier, data):
        if not isinstance(data.get("version"), int) or not isinstance(data.get("session_id"), str):
            return [], None
        is_new = self._versions.accepts(data)
        items = [self._item(name, identifier, data)] if is_new else []
        if self._follows_all:
            self._keep(identifier)
            return items, None
        self.live()
        if is_new:
            self.last_event_id = str(data["version"])
            self._last = data
        if name == "complete":
            return items, _Outcome("ended", "complete")
        if name == "error":
            return items, _Outcome("ended", "failed", data.get("error") or "")
        return items, None

    def close_frame(self, code, reason):
        """The outcome of a Close frame."""
        if code == 1000:
            status = self._last.get("status")
            if status == "failed":
                return _Outcome("ended", "failed", self._last.get("error") or "")
            return _Outcome("ended", "complete" if status == "processed" else "finished")
        if code == 1001:
            return _Outcome("planned")
        if code == 1013 or (code == 1011 and reason == "unavailable"):
            return _Outcome("busy")
        if code == 1008:
            if reason in ("unauthorized", "expired"):
                return _Outcome(reason)
            is_known = reason in ("account-inactive", "forbidden", "not-found", "revoked")
            return _Outcome("ended", reason if is_known else "refused", reason)
        return _Outcome("ended", "refused", reason) if code in (1002, 1007, 1009) else _Outcome("lost")

    def closed(self, outcome):
        """What follows the end of a connection: ("end",), ("refresh",) or ("wait", seconds)."""
        if outcome.kind == "unauthorized":
            self._refusals += 1
            if self._refusals > 1:
                outcome = _Outcome("ended", "signed-out", "The server refuses fresh tokens.")
        if outcome.kind == "ended":
            return self.end(outcome.reason, outcome.detail)
        if outcome.kind in ("expired", "unauthorized"):
            if self.state == "live":
                self._set("catching-up")
            return ("refresh",)
        if outcome.kind == "planned":
            self._set("catching-up")
            return ("wait", _back_off(self.retry, 0))
        self._set("degraded" if outcome.kind == "busy" else "offline")
        self._failures += 1
        return ("wait", _back_off(self.retry, self._failures - 1, outcome.after))

    def end(self, reason, detail=""):
        self._set("ended", reason)
        if reason not in ("complete", "failed", "finished"):
            raise WatchEnded(reason, detail)
        return ("end",)

    def signed_out(self, refusal):
        is_inactive = refusal is not None and refusal.type.endswith("/account-inactive")
        return self.end("account-inactive" if is_inactive else "signed-out", "The sign-in has ended.")

    def refreshed(self):
        """The tokens are new. A token that expires at once must not make a busy loop."""
        self._failures += 1
        return _back_off(self.retry, self._failures) if self._failures > 3 else 0

    def refresh_failed(self, error, failures):
        self._set("offline")
        return _back_off(self.retry, failures, error.retry_after)


# Polls and WebSockets: values without I/O

_LISTED = "uploading,pending,preprocessing,transcribing,diarizing,transcribed,extracting_notes,failed"


def _event_of(status):
    return {"processed": "complete", "failed": "error"}.get(status, "progress")


def _json_of(response):
    """The object of an answer to a poll, or None for 304. Raises ApiError for another status."""
    if response.status_code == 304:
        return None
    if response.status_code != 200:
        raise _error(response, response.content)
    try:
        data = response.json()
    except ValueError:
        data = None
    if not isinstance(data, dict):
        # Something between us and the server, such as the sign-in of a WiFi, may answer in its place.
        raise _unreachable()
    return data


class _PolledSession:
    """The status of one session, with its ETag."""

    def __init__(self, machine, session_id):
        self._machine, self._path, self._tag = machine, f"/api/sessions/{session_id}/status", None

    def round(self, is_first):
        """One poll: a generator that yields (path, ETag), gets the answer, and returns items and an outcome or None."""
        response = yield self._path, self._tag
        data = _json_of(response)
        if data is None:
            self._machine.live()
            return [], None
        self._machine.polled()
        # The name says that the session is finished, as in the stream.
        result = self._machine.receive(_event_of(data.get("status")), None, response.text)
        self._tag = response.headers.get("ETag")
        return result


class _PolledList:
    """The list of unfinished and failed sessions, page by page, each with its ETag.

    A session that leaves the list is finished or gone, which its own status tells.
    """

    def __init__(self, machine):
        self._machine = machine
        self._pages = {}  # By their paths: (ETag, states, cursor, number of processed sessions).
        self._known = {}  # The statuses at the last poll, by session.
        self._processed = None

    def round(self, is_first):
        """As _PolledSession.round(). It has read everything before it changes anything."""
        pages, path = {}, f"/api/sessions?status={_LISTED}&limit=200"
        first = path
        while path:
            old = self._pages.get(path)
            response = yield path, old and old[0]
            data = _json_of(response)
            pages[path] = old if data is None else self._page(data, response)
            cursor = pages[path][2]
            path = cursor and f"{first}&cursor={quote(cursor, safe='')}"
        # Oldest first, as in a stream.
        states = [state for page in pages.values() for state in page[1]][::-1]
        now = {state["session_id"]: state["status"] for state in states}
        changes = [(self._event_of(state, is_first), state) for state in states]
        finished = 0
        for session in [session for session in self._known if session not in now]:
            response = yield f"/api/sessions/{session}/status", None
            try:
                state = _json_of(response)
            except ApiError as error:
                if error.status != 404 and (error.status != 403 or error.type.endswith("/account-inactive")):
                    raise
                changes.append(("session_removed", {"session_id": session}))
                continue
            changes.append((_event_of(state.get("status")), state))
            if state.get("status") == "processed":
                finished += 1
            else:
                now[session] = state.get("status")  # Retried since the list was read.
        processed = pages[first][3]
        # Sessions have come and gone between two polls, and the caller has to read the list.
        is_incomplete = self._processed is not None and processed != self._processed + finished
        self._pages, self._known, self._processed = pages, now, processed
        self._machine.polled()
        items = []
        for name, state in changes:
            items += self._machine.receive(name, None, json.dumps(state))[0]
        if is_first or is_incomplete:
            return items + self._machine.receive("ready", None, "{}")[0], None
        return items + self._machine.settled(), None

    @staticmethod
    def _page(data, response):
        try:
            states = [item["progress"] for item in data["items"]]
            return response.headers.get("ETag"), states, data.get("next_cursor"), data.get("counts", {}).get("processed")
        except (KeyError, TypeError, AttributeError):
            raise _unreachable() from None

    def _event_of(self, state, is_first):
        known, status = self._known.get(state["session_id"]), state["status"]
        is_added = not is_first and (known is None or (known == "failed" and status != "failed"))
        return "session_added" if is_added else _event_of(status)


class _SocketFault(Exception):
    """The server's part of a WebSocket is not one."""


class _Socket:
    """The client's part of a WebSocket (RFC 6455)."""

    def __init__(self, machine, follows_all, request):
        self._machine, self._follows_all = machine, follows_all
        key = base64.b64encode(os.urandom(16))
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        self._accept = base64.b64encode(digest).decode()
        fields = b"".join(b"%s: %s\r\n" % field for field in request.headers.raw)
        #: What has to be sent.
        self.output = b"GET %s HTTP/1.1\r\n%sSec-WebSocket-Key: %s\r\n\r\n" % (request.url.raw_path, fields, key)
        self._input = bytearray()
        self._parts = bytearray()
        self._is_open = False
        self._silences = 0

    def silent(self):
        """Nothing came for half of the watchdog's time. Returns an outcome, or None: the server must answer a ping."""
        self._silences += 1
        if self._silences > 1:
            return _Outcome("lost")
        if self._is_open:
            self.output += self._frame(9, b"")
        return None

    def received(self, data):
        """Takes bytes, or none at the end of the connection. Returns items and an outcome or None."""
        if not data:
            return [], _Outcome("lost")
        self._silences = 0
        self._input += data
        items = []
        try:
            if not self._is_open and not self._read_head():
                return [], None
            for opcode, payload in self._frames():
                outcome = None
                if opcode == 1:
                    new, outcome = self._machine.receive(*self._event(payload))
                    items += new
                elif opcode == 8:
                    self.output += self._frame(8, payload[:2])
                    code = struct.unpack(">H", payload[:2])[0] if len(payload) > 1 else 1005
                    outcome = self._machine.close_frame(code, payload[2:].decode("utf-8", "replace"))
                elif opcode == 9:
                    self.output += self._frame(10, payload)
                if outcome:
                    return items, outcome
        except (_EventTooLarge, _SocketFault):
            return items, _Outcome("lost")
        return items, None

    def _read_head(self):
        end = self._input.find(b"\r\n\r\n")
        if end < 0:
            if len(self._input) > 65_536:
                raise _SocketFault
            return False
        lines = bytes(self._input[:end]).decode("latin-1").split("\r\n")
        del self._input[:end + 4]
        words = lines[0].split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise _SocketFault
        fields = [tuple(part.strip() for part in line.partition(":")[::2]) for line in lines[1:]]
        response = httpx.Response(int(words[1]), headers=[field for field in fields if field[0].lower() != "content-encoding"])
        if response.status_code >= 400:
            raise _error(response, bytes(self._input))
        # Something between us and the server may answer in its place.
        if response.status_code != 101 or response.headers.get("Sec-WebSocket-Accept") != self._accept:
            raise _SocketFault
        self._is_open = True
        self._machine.opened()
        return True

    def _frames(self):
        """Yields (opcode, payload) of each whole message and each control frame."""
        while len(self._input) >= 2:
            first, size = self._input[0], self._input[1]
            if first & 0x70 or size & 0x80:
                raise _SocketFault
            head = 2
            if size > 125:
                head = 4 if size == 126 else 10
                if len(self._input) < head:
                    return
                size = int.from_bytes(self._input[2:head], "big")
            if first & 8 and size > 125:
                raise _SocketFault
            if size + len(self._parts) > EventParser.LIMIT:
                raise _EventTooLarge
            if len(self._input) < head + size:
                return
            payload = bytes(self._input[head:head + size])
            del self._input[:head + size]
            opcode = first & 15
            if opcode >= 8:
                yield opcode, payload
                continue
            self._parts += payload
            if first & 0x80:
                message, self._parts = bytes(self._parts), bytearray()
                yield 1, message

    def _event(self, payload):
        """The name, the id and the data of a message."""
        text = payload.decode("utf-8", "replace")
        if not self._follows_all:
            return "progress", None, text
        try:
            event = json.loads(text)
            return event["event"], event.get("id"), json.dumps(event["data"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return "", None, ""

    @staticmethod
    def _frame(opcode, payload):
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked


# An upload: a value without I/O


class _Upload:
    """The next request of an upload by the tus protocol."""

    MAX_FAILURES = 24
    CHUNKS = (64 * 1024, 16 * 1024 * 1024)

    def __init__(self, file, length, metadata, chunk_size, checksum, base_url):
        self._file, self.length, self._metadata = file, length, metadata
        self._adapts, self._chunk = chunk_size is None, chunk_size or 1024 * 1024
        self._checksum, self._base_url = checksum, base_url
        self._location = self.offset = None
        self._failures = 0

    @property
    def is_stored(self):
        return self.offset == self.length

    def request(self):
        """The next request: (method, path, headers, body)."""
        headers = {"Tus-Resumable": "1.0.0"}
        if self._location is None:
            pairs = [f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in self._metadata.items() if value]
            return "POST", "/api/uploads", {
                **headers, "Upload-Length": str(self.length), "Upload-Metadata": ",".join(pairs)}, None
        if self.offset is None:
            return "HEAD", self._location, headers, None
        self._file.seek(self.offset)
        body = self._file.read(min(self._chunk, self.length - self.offset))
        if not body:
            raise OSError("the file became shorter during the upload")
        headers.update({"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(self.offset)})
        if self._checksum:
            headers["Upload-Checksum"] = "sha256 " + base64.b64encode(hashlib.sha256(body).digest()).decode()
        return "PATCH", self._location, headers, body

    def answered(self, method, headers, took):
        if method == "POST":
            if "Location" not in headers:
                raise ApiError(0, {"detail": "The answer has no Location."})
            self._location = urljoin(self._base_url + "/", headers["Location"])
            # The token must not go to another host.
            if urlsplit(self._location).netloc != urlsplit(self._base_url).netloc:
                raise ApiError(400, {"detail": "The upload is on another host."})
        offset = headers.get("Upload-Offset", "0" if method == "POST" else "")
        if not offset.isdigit():
            raise ApiError(0, {"detail": "The answer has no Upload-Offset."})
        self.offset = int(offset)
        if method == "PATCH":
            self._failures = 0
            if self._adapts and took < 2:
                self._chunk = min(self.CHUNKS[1], self._chunk * 2)
            elif self._adapts and took > 8:
                self._chunk = max(self.CHUNKS[0], self._chunk // 2)

    def failed(self, error, retry):
        """The seconds until the next request. Raises the error if none can help."""
        self._failures += 1
        is_repeatable = error.is_temporary or error.status == 460 or (error.status == 409 and self._location)
        if not is_repeatable or self._failures > self.MAX_FAILURES:
            raise error
        if error.status == 0 and self._adapts:
            self._chunk = max(self.CHUNKS[0], self._chunk // 2)
        self.offset = None  # Ask the server.
        return _back_off(retry, self._failures - 1, error.retry_after)


# The clients


class _Settings:
    """What both clients share."""

    def __init__(self, base_url, tokens=None, *, on_tokens=None, watchdog=25.0, retry=2.0, poll_interval=2.0, **options):
        self.base_url = base_url.rstrip("/")
        self._tokens = tokens
        self._on_tokens = on_tokens
        self._refusal = None  # The answer that refused the last refresh.
        self._retry = retry
        self._watchdog = watchdog
        self._poll_interval = poll_interval
        # httpx has a time-out of 5 s by default, which would end each stream before its first heartbeat. Its pool has
        # 100 connections, and each stream holds one.
        self._options = {
            "timeout": httpx.Timeout(watchdog, connect=10.0), "follow_redirects": True,
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=20), **options}

    @property
    def access_token(self):
        return (self._tokens or {}).get("access_token")

    def _accept(self, tokens):
        self._tokens = tokens and {key: tokens.get(key) for key in ("access_token", "refresh_token")}
        if self._on_tokens:
            self._on_tokens(self._tokens)

    def _arguments(self, path, headers, anonymous):
        headers = {"Accept": "application/json, application/problem+json", **(headers or {})}
        if not anonymous and self.access_token:
            headers["Authorization"] = f"Bearer {self.access_token}"
        return {"url": path if path.startswith("http") else self.base_url + path, "headers": headers}

    def _machine(self, session_id, last_event_id, on_state):
        return _Machine(session_id is None, last_event_id, self._retry, on_state)

    @staticmethod
    def _stream_path(session_id):
        return "/api/sessions/status/stream" if session_id is None else f"/api/sessions/{session_id}/status/stream"

    @staticmethod
    def _check_head(response):
        """The outcome of an answer without a stream, or None. Raises ApiError for a status that needs its body."""
        if response.status_code == 204:
            return _Outcome("ended", "finished")
        if response.status_code != 200:
            return None
        # Something between us and the server, such as the sign-in of a WiFi, may answer in its place.
        is_stream = response.headers.get("Content-Type", "").lower().startswith("text/event-stream")
        return None if is_stream else _Outcome("lost")

    @staticmethod
    def _end_of(parser, has_events):
        return _Outcome("planned" if has_events and not parser.is_inside_event else "lost")

    @staticmethod
    def _poller(machine, session_id):
        if machine.poller is None:
            machine.poller = _PolledList(machine) if session_id is None else _PolledSession(machine, session_id)
        return machine.poller

    @property
    def _connect_timeout(self):
        """The seconds after which an attempt to connect has failed, or None."""
        return httpx.Timeout(self._options["timeout"]).connect

    @property
    def _pause(self):
        """The seconds between two polls."""
        return self._poll_interval * random.uniform(0.75, 1.25)

    def _begin_socket(self, machine, session_id):
        """A WebSocket, the address of its server, and the context for TLS or None. httpx itself has no WebSocket."""
        path = self._stream_path(session_id)[:-len("stream")] + "ws"
        if machine.last_event_id is not None:
            path += f"?last_event_id={quote(machine.last_event_id, safe='')}"
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        request = self._http.build_request("GET", **self._arguments(path, headers, False))
        url, context = request.url, None
        if url.scheme == "https":
            context = httpx.create_ssl_context(
                **{key: self._options[key] for key in ("verify", "cert") if key in self._options})
        return _Socket(machine, session_id is None, request), (url.host, url.port or (443 if context else 80)), context

    def _transport(self, name):
        ways = {"stream": self._stream, "websocket": self._socket, "poll": self._poll}
        if name not in ways:
            raise ValueError(f"the transport {name!r} is not one of {', '.join(ways)}")
        return ways[name]

    def _upload(self, path, patient_id, session_id, filename, session_date, language, chunk_size, checksum):
        file = open(path, "rb")
        metadata = {
            "filename": filename or os.path.basename(path), "patient_id": patient_id, "session_id": session_id,
            "session_date": session_date, "language": language}
        return file, _Upload(file, os.path.getsize(path), metadata, chunk_size, checksum, self.base_url)


def new_session_id():
    """An id for an upload. Its session can be watched from the first byte on."""
    return str(uuid.uuid4())


class TherapyBridge(_Settings):
    """A client that blocks. Several threads can share it.

    `tokens` are those of an earlier sign-in, as a dictionary with `access_token` and `refresh_token`. `on_tokens` is called
    with each new pair, and with None after a sign-out. `watchdog` is the silence in seconds after which a connection
    counts as lost. Other arguments go to httpx.Client.
    """

    def __init__(self, base_url, tokens=None, **options):
        super().__init__(base_url, tokens, **options)
        self._http = httpx.Client(**self._options)
        self._lock = threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._http.close()

    def sign_in(self, email, password):
        response = self._send("POST", "/api/auth/login", json={"email": email, "password": password}, anonymous=True)
        if response.status_code != 200:
            raise _error(response, response.content)
        self._accept(response.json())
        return response.json()["user"]

    def sign_out(self):
        self.request("POST", "/api/auth/logout")
        self._accept(None)

    def me(self):
        return self.request("GET", "/api/auth/me")

    def session(self, session_id):
        return self.request("GET", f"/api/sessions/{session_id}")

    def response(self, method, path, **options):
        """The response of httpx itself, for its headers or a body that is not JSON. Raises ApiError as request() does."""
        response = self._authorised(method, path, **options)
        if not response.is_success:
            raise _error(response, response.content)
        return response

    def request(self, method, path, **options):
        """The JSON of an answer, or None for an empty one. Raises ApiError for a status above 299.

        Options are `headers`, and those of httpx for a body, such as `json` and `params`.
        """
        response = self.response(method, path, **options)
        return response.json() if response.content else None

    def watch(self, session_id, *, last_event_id=None, on_state=None, transport="stream"):
        """Yields the progress objects of a session, until it is processed or has failed.

        Raises WatchEnded when the right or the sign-in has ended. `on_state(state, reason)` is called with connecting, live,
        degraded, catching-up, offline and ended. `transport` is stream, websocket or poll. The last one is for networks that
        hold streams back.
        """
        connect = self._transport(transport)
        machine = self._machine(session_id, last_event_id, on_state)
        return self._watch(machine, lambda: connect(machine, session_id))

    def watch_all(self, *, last_event_id=None, on_state=None, transport="stream"):
        """Yields {"event", "id", "data"} for all sessions that the account may see. Does not end by itself."""
        connect = self._transport(transport)
        machine = self._machine(None, last_event_id, on_state)
        return self._watch(machine, lambda: connect(machine, None))

    def upload(self, path, patient_id, *, session_id=None, filename=None, session_date=None, language=None,
               chunk_size=None, checksum=True, on_progress=None):
        """Uploads a recording, and continues after each fault of the network. Returns the session.

        `on_progress(sent, total)` is called with the bytes that the server has stored. The same `session_id`, name and size
        continue an unfinished upload.
        """
        session_id = session_id or new_session_id()
        file, upload = self._upload(path, patient_id, session_id, filename, session_date, language, chunk_size, checksum)
        with file:
            while not upload.is_stored:
                method, url, headers, body = upload.request()
                begin = time.monotonic()
                try:
                    response = self._authorised(method, url, headers=headers, content=body)
                    if not response.is_success:
                        raise _error(response, response.content)
                    upload.answered(method, response.headers, time.monotonic() - begin)
                except ApiError as error:
                    time.sleep(upload.failed(error, self._retry / 2))
                else:
                    if on_progress:
                        on_progress(upload.offset, upload.length)
        return self.session(session_id)

    # Requests

    def _send(self, method, path, *, headers=None, anonymous=False, **options):
        try:
            return self._http.request(method, **self._arguments(path, headers, anonymous), **options)
        except httpx.HTTPError as error:
            raise _unreachable() from error

    def _authorised(self, method, path, **options):
        used = self.access_token
        response = self._send(method, path, **options)
        if response.status_code == 401 and self._refresh(used):
            response = self._send(method, path, **options)
        return response

    def _refresh(self, used):
        """Gets new tokens, unless another thread has done so since `used` was sent. False: the sign-in has ended."""
        with self._lock:  # A refresh token works once, and using it again ends the sign-in.
            if self.access_token != used:
                return self.access_token is not None
            token = (self._tokens or {}).get("refresh_token")
            if not token:
                return False
            response = self._send("POST", "/api/auth/refresh", json={"refresh_token": token}, anonymous=True)
            if response.status_code == 200:
                self._accept(response.json())
                return True
            error = _error(response, response.content)
            if error.is_temporary:
                raise error
            self._refusal = error
            return False

    # Watching

    def _watch(self, machine, connect):
        while True:
            used = self.access_token
            try:
                outcome = yield from connect()
            except ApiError as error:
                outcome = _Outcome.of(error)
            action = machine.closed(outcome)
            if action[0] == "end":
                return
            if action[0] == "wait":
                time.sleep(action[1])
                continue
            failures = 0
            while True:
                try:
                    if not self._refresh(used):
                        machine.signed_out(self._refusal)
                    time.sleep(machine.refreshed())
                    break
                except ApiError as error:
                    time.sleep(machine.refresh_failed(error, failures))
                    failures += 1

    def _stream(self, machine, session_id):
        headers = {"Accept": "text/event-stream"}
        if machine.last_event_id is not None:
            headers["Last-Event-ID"] = machine.last_event_id
        parser, has_events = EventParser(), False
        try:
            with self._http.stream("GET", **self._arguments(self._stream_path(session_id), headers, False)) as response:
                outcome = self._check_head(response)
                if outcome:
                    return outcome
                if response.status_code != 200:
                    raise _error(response, response.read())
                machine.opened()
                for chunk in response.iter_raw():
                    events = parser.feed(chunk)
                    machine.retry = machine.retry if parser.retry is None else parser.retry
                    for event in events:
                        has_events = True
                        items, outcome = machine.receive(*event)
                        yield from items
                        if outcome:
                            return outcome
        except (httpx.HTTPError, _EventTooLarge):
            return _Outcome("lost")
        return self._end_of(parser, has_events)

    def _socket(self, machine, session_id):
        try:
            web, address, context = self._begin_socket(machine, session_id)
            with contextlib.ExitStack() as stack:
                line = stack.enter_context(socket.create_connection(address, self._connect_timeout))
                if context:
                    line = stack.enter_context(context.wrap_socket(line, server_hostname=address[0]))
                line.settimeout(self._watchdog / 2)
                outcome = None
                while not outcome:
                    if web.output:
                        line.sendall(web.output)
                        web.output = b""
                    try:
                        data = line.recv(65_536)
                    except socket.timeout:
                        outcome = web.silent()
                    else:
                        items, outcome = web.received(data)
                        yield from items
                line.sendall(web.output)
                return outcome
        except OSError:
            return _Outcome("lost")

    def _poll(self, machine, session_id):
        poller, is_first = self._poller(machine, session_id), True
        while True:
            work, response = poller.round(is_first), None
            try:
                while True:
                    path, tag = work.send(response)
                    response = self._send("GET", path, headers={"If-None-Match": tag} if tag else {})
            except StopIteration as end:
                items, outcome = end.value
            yield from items
            if outcome:
                return outcome
            is_first = False
            time.sleep(self._pause)


class AsyncTherapyBridge(_Settings):
    """The same client for asyncio: `async with`, `await` and `async for`. Other arguments go to httpx.AsyncClient."""

    def __init__(self, base_url, tokens=None, **options):
        super().__init__(base_url, tokens, **options)
        self._http = httpx.AsyncClient(**self._options)
        self._refreshing = None

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self):
        await self._http.aclose()

    async def sign_in(self, email, password):
        response = await self._send("POST", "/api/auth/login", json={"email": email, "password": password}, anonymous=True)
        if response.status_code != 200:
            raise _error(response, response.content)
        self._accept(response.json())
        return response.json()["user"]

    async def sign_out(self):
        await self.request("POST", "/api/auth/logout")
        self._accept(None)

    async def me(self):
        return await self.request("GET", "/api/auth/me")

    async def session(self, session_id):
        return await self.request("GET", f"/api/sessions/{session_id}")

    async def response(self, method, path, **options):
        """The response of httpx itself, for its headers or a body that is not JSON. Raises ApiError as request() does."""
        response = await self._authorised(method, path, **options)
        if not response.is_success:
            raise _error(response, response.content)
        return response

    async def request(self, method, path, **options):
        """The JSON of an answer, or None for an empty one. Raises ApiError for a status above 299.

        Options are `headers`, and those of httpx for a body, such as `json` and `params`.
        """
        response = await self.response(method, path, **options)
        return response.json() if response.content else None

    def watch(self, session_id, *, last_event_id=None, on_state=None, transport="stream"):
        """As TherapyBridge.watch(), for `async for`."""
        connect = self._transport(transport)
        return self._watch(self._machine(session_id, last_event_id, on_state), connect, session_id)

    def watch_all(self, *, last_event_id=None, on_state=None, transport="stream"):
        """As TherapyBridge.watch_all(), for `async for`."""
        connect = self._transport(transport)
        return self._watch(self._machine(None, last_event_id, on_state), connect, None)

    async def upload(self, path, patient_id, *, session_id=None, filename=None, session_date=None, language=None,
                     chunk_size=None, checksum=True, on_progress=None):
        """As TherapyBridge.upload()."""
        session_id = session_id or new_session_id()
        file, upload = self._upload(path, patient_id, session_id, filename, session_date, language, chunk_size, checksum)
        with file:
            while not upload.is_stored:
                method, url, headers, body = await asyncio.to_thread(upload.request)
                begin = time.monotonic()
                try:
                    response = await self._authorised(method, url, headers=headers, content=body)
                    if not response.is_success:
                        raise _error(response, response.content)
                    upload.answered(method, response.headers, time.monotonic() - begin)
                except ApiError as error:
                    await asyncio.sleep(upload.failed(error, self._retry / 2))
                else:
                    if on_progress:
                        on_progress(upload.offset, upload.length)
        return await self.session(session_id)

    # Requests

    async def _send(self, method, path, *, headers=None, anonymous=False, **options):
        try:
            return await self._http.request(method, **self._arguments(path, headers, anonymous), **options)
        except httpx.HTTPError as error:
            raise _unreachable() from error

    async def _authorised(self, method, path, **options):
        used = self.access_token
        response = await self._send(method, path, **options)
        if response.status_code == 401 and await self._refresh(used):
            response = await self._send(method, path, **options)
        return response

    async def _refresh(self, used):
        if self._refreshing is None:
            if self.access_token != used:
                return self.access_token is not None
            # A task of its own: a caller that is cancelled must not take the new tokens away from the others.
            self._refreshing = asyncio.ensure_future(self._new_tokens())
            self._refreshing.add_done_callback(self._forget_refresh)
        return await asyncio.shield(self._refreshing)

    def _forget_refresh(self, task):
        self._refreshing = None
        if not task.cancelled():
            task.exception()  # Its callers have it. If all of them were cancelled, nobody needs it.

    async def _new_tokens(self):
        token = (self._tokens or {}).get("refresh_token")
        if not token:
            return False
        response = await self._send("POST", "/api/auth/refresh", json={"refresh_token": token}, anonymous=True)
        if response.status_code == 200:
            self._accept(response.json())
            return True
        error = _error(response, response.content)
        if error.is_temporary:
            raise error
        self._refusal = error
        return False

    # Watching

    async def _watch(self, machine, connect, session_id):
        while True:
            used = self.access_token
            outcome = None
            try:
                async for item in connect(machine, session_id):
                    if isinstance(item, _Outcome):  # An asynchronous generator cannot return a value.
                        outcome = item
                        break
                    yield item
            except ApiError as error:
                outcome = _Outcome.of(error)
            action = machine.closed(outcome)
            if action[0] == "end":
                return
            if action[0] == "wait":
                await asyncio.sleep(action[1])
                continue
            failures = 0
            while True:
                try:
                    if not await self._refresh(used):
                        machine.signed_out(self._refusal)
                    await asyncio.sleep(machine.refreshed())
                    break
                except ApiError as error:
                    await asyncio.sleep(machine.refresh_failed(error, failures))
                    failures += 1

    async def _stream(self, machine, session_id):
        headers = {"Accept": "text/event-stream"}
        if machine.last_event_id is not None:
            headers["Last-Event-ID"] = machine.last_event_id
        parser, has_events = EventParser(), False
        try:
            arguments = self._arguments(self._stream_path(session_id), headers, False)
            async with self._http.stream("GET", **arguments) as response:
                outcome = self._check_head(response)
                if outcome:
                    yield outcome
                    return
                if response.status_code != 200:
                    raise _error(response, await response.aread())
                machine.opened()
                async for chunk in response.aiter_raw():
                    events = parser.feed(chunk)
                    machine.retry = machine.retry if parser.retry is None else parser.retry
                    for event in events:
                        has_events = True
                        items, outcome = machine.receive(*event)
                        for item in items:
                            yield item
                        if outcome:
                            yield outcome
                            return
        except (httpx.HTTPError, _EventTooLarge):
            yield _Outcome("lost")
            return
        yield self._end_of(parser, has_events)

    async def _socket(self, machine, session_id):
        writer = None
        try:
            web, address, context = self._begin_socket(machine, session_id)
            opening = asyncio.open_connection(*address, ssl=context)
            reader, writer = await asyncio.wait_for(opening, timeout=self._connect_timeout)
            outcome = None
            while not outcome:
                if web.output:
                    writer.write(web.output)
                    web.output = b""
                try:
                    data = await asyncio.wait_for(reader.read(65_536), timeout=self._watchdog / 2)
                except asyncio.TimeoutError:
                    outcome = web.silent()
                else:
                    items, outcome = web.received(data)
                    for item in items:
                        yield item
            writer.write(web.output)
            yield outcome
        except (OSError, asyncio.TimeoutError):
            yield _Outcome("lost")
        finally:
            if writer:
                writer.close()

    async def _poll(self, machine, session_id):
        poller, is_first = self._poller(machine, session_id), True
        while True:
            work, response = poller.round(is_first), None
            try:
                while True:
                    path, tag = work.send(response)
                    response = await self._send("GET", path, headers={"If-None-Match": tag} if tag else {})
            except StopIteration as end:
                items, outcome = end.value
            for item in items:
                yield item
            if outcome:
                yield outcome
                return
            is_first = False
            await asyncio.sleep(self._pause)
