"""The workers of a run, and the processes that they leave behind."""
import os
import pathlib
import signal
import time

from installation import ROOT
from running import PATIENCE


class Worker:
    """A worker in a process of its own: the bundled one, that of HTTP or that of SQL."""

    def __init__(self, installation, kind, name):
        self.installation, self.kind, self.name = installation, kind, name
        self.process = None
        self.settings = dict(installation.environment)
        if kind == "bundled":
            self.command = [installation.program, "work"]
        else:
            # Two processes of one worker need two names. The test knows the holder of a lease by its name.
            script = installation.directory / f"{name}.py"
            script.write_text((ROOT / "docs" / f"{kind}-worker.py").read_text().replace('"worker-7"', f'"{name}"'))
            # A naive worker that is killed leaves its plain recording behind.
            folder = installation.directory / f"{name}.temporary"
            folder.mkdir(mode=0o700)
            self.command = ["/usr/bin/python3", str(script)]
            self.settings = {
                "PATH": "/usr/bin:/bin", "TMPDIR": str(folder), "TRANSCRIBE": f"/bin/sh {installation.stage} {name}",
                "DATABASE_URL": installation.database("therapybridge_pipeline"), "UPLOAD_DIR": str(installation.recordings),
                "TB_URL": installation.url, "TB_TOKEN": installation.pipeline_token,
            }

    @property
    def lease_name(self):
        """The name of the worker in app.session_leases, as a pattern of LIKE."""
        return f"%/{self.process.pid}" if self.kind == "bundled" else self.name

    def start(self):
        # A naive worker does not end its transcriber. Their group is killed as one, as a service manager does it.
        self.process = self.installation.popen(
            self.command, self.name, self.settings, start_new_session=self.kind != "bundled")

    def signal(self, number):
        if self.kind == "bundled":
            self.process.send_signal(number)
        else:
            os.killpg(self.process.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def descendants(of=None):
    """The processes below this one, or another one, that are no zombies: process, parent and name."""
    children = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            name, rest = pathlib.Path(f"/proc/{entry}/stat").read_text().split(" (", 1)[1].rsplit(") ", 1)
        except (OSError, IndexError, ValueError):
            continue  # the process has ended
        state, parent = rest.split()[:2]
        children.setdefault(int(parent), []).append((int(entry), name, state))
    found, waiting = {}, [of or os.getpid()]
    while waiting:
        for process, name, state in children.get(waiting.pop(), []):
            if state not in "ZX":
                found[process] = name
            waiting.append(process)
    return found


def orphans(known):
    """The processes whose worker has died: they are children of this process that it has not started."""
    # A zombie has ended. Only this process can remove it.
    own = {process.pid for process, _ in known}
    found = {}
    for entry in pathlib.Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for child in map(int, entry.read_text().split()):
            if child in own:
                continue
            try:
                if os.waitpid(child, os.WNOHANG) == (0, 0):
                    found[child] = pathlib.Path(f"/proc/{child}/comm").read_text().strip()
                    found |= descendants(child)
            except (OSError, ChildProcessError):
                continue
    return found


def wait_for_end_of_orphans(known, limit):
    """Returns how many seconds the orphans of a killed worker live on, and those that outlive the limit."""
    begin = time.monotonic()
    while left := orphans(known):
        if time.monotonic() - begin > limit:
            return limit, left
        time.sleep(0.005)
    return time.monotonic() - begin, {}
