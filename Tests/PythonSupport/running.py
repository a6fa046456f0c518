"""What a run of processes needs: to wait, a free port, and the programs of PostgreSQL."""
import os
import pathlib
import socket
import time

SLOWNESS = float(os.environ.get("TEST_SLOWNESS", "1"))
# How many seconds anything may take that has to happen at last.
PATIENCE = 60 * SLOWNESS


class DidNotHappen(Exception):
    """A condition that has to become true did not."""


def eventually(what, condition, limit=PATIENCE):
    """Waits for a condition, and returns its first value that is true. Blocks the thread: not for the loop of asyncio."""
    end = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > end:
            raise DidNotHappen(what)
        time.sleep(0.05)
    return value


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def postgres_programs():
    """The folder of the server's programs: POSTGRES_PROGRAMS, or else the newest one of Debian."""
    if chosen := os.environ.get("POSTGRES_PROGRAMS"):
        return pathlib.Path(chosen)
    return sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))[-1]
