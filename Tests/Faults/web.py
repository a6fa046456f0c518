"""Requests and streams over HTTP, without a library: a run must see each byte, and each end of a connection."""
import asyncio
import json


class Unanswered(Exception):
    """No whole answer came: the connection was refused, broke, or was silent for too long."""


async def request(port, method, path, token=None, body=None, headers=None, limit=10):
    """Sends one request on a connection of its own, and returns status, headers and body."""
    if isinstance(body, (dict, list)):
        body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})}
    try:
        async with asyncio.timeout(limit):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(head(method, path, token, {"Content-Length": str(len(body or b"")), **(headers or {})}))
                writer.write(body or b"")
                await writer.drain()
                status, fields = await read_head(reader)
                length = fields.get("content-length")
                if method == "HEAD" or status == 204:
                    data = b""
                else:
                    data = await (reader.readexactly(int(length)) if length else reader.read())
                return status, fields, data
            finally:
                writer.close()
    except (OSError, EOFError, ValueError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise Unanswered(f"{method} {path}: {error!r}") from error


def head(method, path, token, headers):
    # HTTP/1.0: the answer ends with the connection, without chunks.
    lines = [f"{method} {path} HTTP/1.0", "Host: 127.0.0.1"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def read_head(reader):
    first = (await reader.readline()).split(b" ")
    if len(first) < 2:
        raise EOFError("no answer")
    fields = {}
    while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode().partition(":")
        fields[name.strip().lower()] = value.strip()
    return int(first[1]), fields


async def events(reader, silence):
    """The events of an open stream: (event, id, data), and each delay that it asks for as ("retry", None, seconds).

    A block without an event, such as a heartbeat, is none.

    Raises Unanswered when nothing comes for so many seconds, as a client does that knows the interval of heartbeats.
    """
    event = identifier = data = None
    while True:
        try:
            line = await asyncio.wait_for(reader.readline(), silence)
        except (OSError, TimeoutError, ValueError) as error:
            raise Unanswered(repr(error)) from error
        # An event without its blank line is discarded.
        if not line.endswith(b"\n"):
            return
        line = line.rstrip(b"\r\n")
        if not line:
            if event is not None:
                yield event, identifier, data
            event = identifier = data = None
        elif line.startswith(b"retry: "):
            yield "retry", None, int(line[7:]) / 1000
        elif line.startswith(b"event: "):
            event = line[7:].decode()
        elif line.startswith(b"id: "):
            identifier = line[4:].decode()
        elif line.startswith(b"data: "):
            data = json.loads(line[6:])
