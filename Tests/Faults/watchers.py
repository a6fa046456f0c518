"""Clients that follow sessions as browsers do: they reconnect with the last id, to whichever server nginx chooses."""
import asyncio
import collections
import dataclasses
import time

from installation import HEARTBEAT, SLOWNESS
from web import Unanswered, events, head, read_head

# A client that hears nothing for so many seconds takes the connection for dead.
SILENCE = 5 * HEARTBEAT * SLOWNESS
# The seconds until a client tries again that no server has told how long to wait.
FIRST_PAUSE = 0.2


@dataclasses.dataclass(frozen=True)
class Seen:
    """One event that carried a state: on which connection of the watcher, and when, by the system's clock."""

    connection: int
    at: float
    session: str
    version: int
    status: str
    event: str


class Watcher:
    """Follows one session, or all that its account may see."""

    def __init__(self, installation, name, session=None, port=None):
        self.installation, self.name, self.session = installation, name, session
        self.port = port or installation.port
        self.seen, self.last_id, self.connections, self.is_done = [], None, 0, False
        # When each connection began, by the system's clock.
        self.began = {}
        # Statuses other than 200, and events that carry no state, with their number.
        self.statuses, self.others = collections.Counter(), collections.Counter()
        self.removed = set()
        # The seconds until the next connection, as the server or nginx asks for.
        self.pause, self.task = FIRST_PAUSE, None

    @property
    def path(self):
        return f"/api/sessions/{self.session}/status/stream" if self.session else "/api/sessions/status/stream"

    def start(self):
        self.task = asyncio.create_task(self.run())
        return self

    async def run(self):
        while not self.is_done:
            try:
                await self.connect()
            except Unanswered:
                pass
            if not self.is_done:
                await asyncio.sleep(self.pause)

    async def connect(self):
        headers = {"Accept": "text/event-stream"}
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        writer, begin = None, time.time()
        try:
            async with asyncio.timeout(SILENCE):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
                writer.write(head("GET", self.path, self.installation.tokens[self.name], headers))
                await writer.drain()
                status, _ = await read_head(reader)
            if status != 200:
                self.statuses[status] += 1
                self.is_done = status == 204
                return
            self.connections += 1
            self.began[self.connections] = begin
            async for event, identifier, data in events(reader, SILENCE):
                if event == "retry":
                    self.pause = data
                else:
                    self.take(event, identifier, data)
                if self.is_done:
                    return
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            raise Unanswered(repr(error)) from error
        finally:
            if writer:
                writer.close()

    def take(self, event, identifier, data):
        if identifier is not None:
            self.last_id = identifier
        if event == "session_removed":
            self.removed.add(data["session_id"])
        elif "version" in data:
            self.seen.append(Seen(
                self.connections, time.time(), data["session_id"], data["version"], data["status"], event))
            self.is_done = self.session is not None and event in ("complete", "error")
        else:
            self.others[event] += 1

    async def stop(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def last(self, session):
        """The last state of a session that the watcher has; None: it has none."""
        return next((seen for seen in reversed(self.seen) if seen.session == session), None)
