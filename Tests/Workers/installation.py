"""A PostgreSQL, a server and accounts for one run, and the recordings of its sessions."""
import hashlib
import json
import os
import pathlib
import pwd
import random
import re
import secrets
import shutil
import signal
import struct
import subprocess
import urllib.request
import uuid

from running import PATIENCE, eventually, free_port, postgres_programs

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Bytes that every recording has, and nothing else on the machine.
MARKER = b"a plain recording of a run that kills workers: " + secrets.token_bytes(16)
# The seconds of a lease.
LEASE = 60
PATIENTS = 5


class Installation:
    def __init__(self, program, directory):
        self.program, self.directory = program, directory
        self.recordings, self.work, self.temporary = (directory / name for name in ("recordings", "work", "temporary"))
        # The SHA-256 of each recording, by session.
        self.digests = {}
        # Each process with the signal that ends it.
        self.processes = []

    def __enter__(self):
        try:
            self.start()
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind=None, *_):
        if kind:
            self.show_logs()
        # In a fault, workers still run.
        for process, ending in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(ending)
                process.wait()

    def start(self):
        # PostgreSQL does not run as root. Its account must be able to traverse the folder.
        self.directory.chmod(0o755)
        for folder in (self.recordings, self.work, self.temporary):
            folder.mkdir(mode=0o700)
        # The stages of root run as another user.
        self.stage = self.directory / "stage.sh"
        shutil.copyfile(HERE / "stage.sh", self.stage)
        self.stage.chmod(0o644)
        self.start_postgres()
        owner = self.database("postgres")
        self.command("migrate", "up", DATABASE_MIGRATE_URL=owner)
        self.patients = [
            self.command(
                "user", "add", "--email", f"patient-{number}@workers.test", "--name", f"Patient {number}", "--role", "patient",
                DATABASE_MIGRATE_URL=owner)
            for number in range(PATIENTS)
        ]
        for role in ("admin", "pipeline"):
            self.command(
                "user", "add", "--email", f"{role}@workers.test", "--name", role, "--role", role, DATABASE_MIGRATE_URL=owner)
        self.sql((HERE / "watch.sql").read_text())
        key = self.directory / "recordings.key"
        key.touch(mode=0o600)
        key.write_text(secrets.token_hex(32))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ, "DATABASE_URL": self.database("therapybridge_server"), "JWT_SECRET": secrets.token_hex(32),
            "UPLOAD_DIR": str(self.recordings), "UPLOAD_KEY_FILE": str(key), "PORT": str(self.port), "LOG_LEVEL": "info",
            "TMPDIR": str(self.temporary), "UPLOADS_PER_HOUR": "0", "UPLOAD_QUOTA_BYTES": "0",
            "UPLOAD_MAX_CONCURRENT_PER_USER": "0", "REQUESTS_PER_SIGN_IN": "0", "REQUESTS_PER_ADDRESS": "0",
            "PIPELINE_WORK_DIR": str(self.work), "PIPELINE_CONCURRENCY": "2", "PIPELINE_MAX_ATTEMPTS": "1000",
            "PIPELINE_TRANSCRIBE_COMMAND": f"/bin/sh {self.stage} bundled",
            "PIPELINE_NOTES_COMMAND": f"/bin/sh {self.stage} notes",
        }
        server = self.popen([self.program, "serve", "--no-worker"], "server", self.environment, ending=signal.SIGTERM)
        eventually("the server is ready", lambda: self.is_ready(server))
        tokens = {"DATABASE_MIGRATE_URL": owner, "JWT_SECRET": self.environment["JWT_SECRET"]}
        self.token, self.pipeline_token = (
            self.command("token", "--email", f"{role}@workers.test", "--ttl", "86400", **tokens)
            for role in ("admin", "pipeline"))

    def start_postgres(self):
        binaries = postgres_programs()
        self.psql = shutil.which("psql") or str(binaries / "psql")
        folder = self.directory / "postgres"
        folder.mkdir(mode=0o700)
        user = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
            user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        subprocess.run(
            [binaries / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **user)
        with open(self.directory / "postgres.log", "wb") as log:
            server = subprocess.Popen(
                [binaries / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"],
                stdout=log, stderr=log, cwd="/", **user)
        # A fast shutdown, which waits for no client.
        self.processes.append((server, signal.SIGINT))
        self.socket_folder = folder
        eventually(
            "PostgreSQL answers",
            lambda: subprocess.run([self.psql, *self.connection("postgres", "postgres"), "-c", "SELECT 1"],
                                   capture_output=True).returncode == 0)
        self.sql("CREATE DATABASE therapybridge", database="postgres")

    def database(self, user):
        return f"host={self.socket_folder} dbname=therapybridge user={user}"

    def connection(self, user, database):
        return ["-X", "-q", "-h", str(self.socket_folder), "-U", user, "-d", database]

    def sql(self, text, database="therapybridge"):
        """Runs SQL as the superuser, and returns the rows as lists of texts."""
        run = subprocess.run(
            [self.psql, *self.connection("postgres", database), "-At", "-F", "\t", "-v", "ON_ERROR_STOP=1"], input=text,
            capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(run.stderr)
        return [line.split("\t") for line in run.stdout.splitlines()]

    def command(self, *arguments, **settings):
        run = subprocess.run(
            [self.program, *arguments], env={**os.environ, **settings}, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if run.returncode != 0:
            raise SystemExit(f"{arguments}: {run.stderr}")
        return run.stdout.strip()

    def popen(self, command, name, environment, ending=signal.SIGKILL, **options):
        """Starts a process that adds to a log of its own. The run ends it by a signal, if it still runs."""
        with open(self.directory / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, **options)
        self.processes.append((process, ending))
        return process

    def show_logs(self):
        """Prints the ends of all logs, for the search after a fault."""
        for path in sorted(self.directory.glob("*.log")):
            print(f"--- {path.name}\n{path.read_text(errors='replace')[-5000:]}")

    def log(self, name):
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def is_ready(self, server):
        if server.poll() is not None:
            raise SystemExit(self.log("server"))
        try:
            return urllib.request.urlopen(self.url + "/health/ready", timeout=10).status == 200
        except OSError:
            return False

    def upload(self, count):
        """Uploads recordings, each of which differs from all others, for the patients in turn."""
        for _ in range(count):
            samples = MARKER + random.randbytes(16_000 - len(MARKER))
            header = b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVEfmt "
            header += struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16) + b"data" + struct.pack("<I", len(samples))
            patient = self.patients[len(self.digests) % PATIENTS]
            boundary = uuid.uuid4().hex
            body = (
                f'--{boundary}\r\nContent-Disposition: form-data; name="patient_id"\r\n\r\n{patient}\r\n--{boundary}\r\n'
                'Content-Disposition: form-data; name="file"; filename="session.wav"\r\n\r\n').encode()
            body += header + samples + f"\r\n--{boundary}--\r\n".encode()
            request = urllib.request.Request(
                self.url + "/api/sessions/upload", body,
                {"Content-Type": f"multipart/form-data; boundary={boundary}", "Authorization": f"Bearer {self.token}"})
            session = json.load(urllib.request.urlopen(request, timeout=PATIENCE))["id"]
            self.digests[session] = hashlib.sha256(header + samples).hexdigest()

    def unfinished(self):
        return int(self.sql("SELECT count(*) FROM app.session_leases")[0][0])

    def lapse(self, worker):
        """Ends the leases of the workers with such a name, as a minute without a word from them would."""
        if not re.fullmatch("[%/a-zA-Z0-9._-]+", worker):
            raise ValueError(worker)
        return int(self.sql(
            f"""
            WITH lapsed AS (
                UPDATE app.session_leases SET leased_until = clock_timestamp()
                WHERE worker LIKE '{worker}' AND lease_hash IS NOT NULL AND leased_until > clock_timestamp() RETURNING 1)
            SELECT count(*) FROM lapsed
            """)[0][0])
