"""Clusters of PostgreSQL of one run: a primary, standbys, and what a run does to them."""
import os
import pathlib
import pwd
import signal
import subprocess

from running import PATIENCE, eventually, free_port, postgres_programs


class Cluster:
    """One cluster. PostgreSQL does not run as root: if this process does, the cluster belongs to the user postgres."""

    # Synchronous writes, as in production: a crash must lose no commit that a client has seen.
    SETTINGS = {"max_connections": "200", "listen_addresses": "127.0.0.1", "wal_level": "replica", "max_wal_senders": "10",
                "wal_keep_size": "256MB", "synchronous_commit": "on"}

    def __init__(self, folder, port=None):
        self.folder, self.port, self.process = pathlib.Path(folder), port or free_port(), None
        self.user = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            self.user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self.folder.mkdir(mode=0o700)
        if self.user:
            os.chown(self.folder, self.user["user"], self.user["group"])

    @property
    def data(self):
        return self.folder / "data"

    def program(self, name, *arguments):
        run = subprocess.run([postgres_programs() / name, *map(str, arguments)], cwd="/", capture_output=True, text=True, **self.user)
        if run.returncode != 0:
            raise SystemExit(f"{name}: {run.stderr}")
        return run.stdout

    def create(self):
        self.program("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        return self

    def copy(self, port):
        """Makes this cluster a standby that streams from the primary at a port, and does not hold its commits up."""
        self.program("pg_basebackup", "-D", self.data, "-R", "-c", "fast", "--no-sync", "-h", "127.0.0.1", "-p", port, "-U", "postgres")
        return self

    def start(self):
        command = [postgres_programs() / "postgres", "-D", self.data, "-k", self.folder, "-p", str(self.port)]
        for name, value in self.SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        with open(self.folder.parent / f"{self.folder.name}.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", start_new_session=True, **self.user)
        eventually("PostgreSQL answers", self.answers)
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise SystemExit(f"PostgreSQL ended: {self.folder.parent / self.folder.name}.log")
        ready = [postgres_programs() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready).returncode == 0

    def stop(self, how=signal.SIGINT):
        """Stops the cluster: SIGINT is a fast shutdown, SIGQUIT an immediate one, which is a crash."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def signal_all(self, number):
        """Sends a signal to each process of the cluster. Each backend leads a group of its own: a signal to one would miss it."""
        parent = self.process.pid
        children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        # The parent first: it could start a process that nobody stops.
        for process in [parent, *map(int, children)]:
            try:
                os.kill(process, number)
            except ProcessLookupError:
                pass

    def backends(self, name):
        """The processes of the cluster whose title contains the name, such as walsender."""
        parent, found = self.process.pid, []
        for child in pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            try:
                if name in pathlib.Path(f"/proc/{child}/cmdline").read_text():
                    found.append(int(child))
            except OSError:
                continue
        return found

    def url(self, user="postgres", database="therapybridge"):
        return f"host=127.0.0.1 port={self.port} dbname={database} user={user}"
