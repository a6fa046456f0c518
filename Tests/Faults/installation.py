"""Three servers behind nginx, on one PostgreSQL, with their accounts."""
import asyncio
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import time

from links import Link
from postgres import Cluster
from running import PATIENCE, SLOWNESS, DidNotHappen, free_port
from web import Unanswered, request

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENTS = 5
PASSWORD = "a long password of the run"
# The seconds between two heartbeats, between two looks of the poll, and that a server drains.
HEARTBEAT, POLL, DRAIN = 1, 2, 5
# The bytes of the disk of recordings.
DISK = 192 << 20


async def happens(what, condition, limit=PATIENCE):
    """Waits for a condition, and returns its first value that is true, and the seconds that it took."""
    begin = time.monotonic()
    while not (value := await condition()):
        if time.monotonic() - begin > limit:
            raise DidNotHappen(what)
        await asyncio.sleep(0.05)
    return value, time.monotonic() - begin


class Server:
    """One serve process, with links of its own between its listener and PostgreSQL."""

    def __init__(self, installation, name):
        self.installation, self.name = installation, name
        self.port, self.metrics_port, self.process, self.links = free_port(), free_port(), None, []

    def settings(self):
        ports = ",".join(str(cluster.port) for cluster in self.installation.slots)
        through = ",".join(str(link.port) for link in self.links)
        url = "host=127.0.0.1,127.0.0.1 port={} dbname=therapybridge user=therapybridge_server"
        return {
            **os.environ, **self.installation.settings, "DATABASE_URL": url.format(ports) + " target_session_attrs=read-write",
            "DATABASE_LISTEN_URL": url.format(through), "PORT": str(self.port), "METRICS_PORT": str(self.metrics_port),
        }

    async def start(self, program=None, **settings):
        if not self.links:
            self.links = [await Link(cluster.port).start() for cluster in self.installation.slots]
        with open(self.installation.folder / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                [program or self.installation.program, "serve", "--no-worker"], env={**self.settings(), **settings},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        await happens(f"{self.name} is ready", self.is_ready)

    async def is_ready(self):
        if self.process.poll() is not None:
            raise SystemExit((self.installation.folder / f"{self.name}.log").read_text()[-3000:])
        return await self.readiness() == 200

    async def readiness(self):
        """The status of the readiness route; None without an answer."""
        try:
            return (await request(self.port, "GET", "/health/ready", limit=3 * SLOWNESS))[0]
        except Unanswered:
            return None

    async def metric(self, name):
        """The value of a metric without labels, or the sum over its labels; None if the server does not answer."""
        try:
            _, _, text = await request(self.metrics_port, "GET", "/metrics", limit=3)
        except Unanswered:
            return None
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text.decode(), re.MULTILINE)
        return sum(map(float, found)) if found else None

    async def is_listening(self):
        return await self.metric("therapybridge_listener_live") == 1

    async def ends(self):
        """Waits until the process ends, and returns its exit status."""
        await happens(f"{self.name} ends", self.has_ended)
        return self.process.returncode

    async def has_ended(self):
        return self.process.poll() is not None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def memory(self):
        """The private memory of the process in bytes."""
        return int(re.search(r"RssAnon:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())[1]) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Installation:
    def __init__(self, program, folder, has_witness=False):
        self.program, self.folder = program, folder
        self.folder.chmod(0o755)
        # A small disk, which a fault can fill without harm to others. Only root can have one.
        self.disk, self.has_disk = folder / "disk", os.geteuid() == 0
        self.disk.mkdir()
        if self.has_disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK >> 20}m,mode=755", "tmpfs", str(self.disk)], check=True)
        self.recordings = self.disk / "recordings"
        self.recordings.mkdir(mode=0o700)
        # Their ports stay. After a failover, the other one has the primary, and the next standby takes the place of the old one.
        self.slots = [Cluster(folder / "postgres-1"), Cluster(folder / "postgres-2")]
        self.primary, self.clusters = self.slots[0], 2
        self.port, self.nginx = free_port(), None
        self.settings = {
            "JWT_SECRET": secrets.token_hex(32), "UPLOAD_DIR": str(self.recordings), "LOG_LEVEL": "info",
            "PUBLIC_URL": f"http://127.0.0.1:{self.port}", "SSE_HEARTBEAT_INTERVAL": str(HEARTBEAT),
            "SSE_UPDATE_INTERVAL": str(POLL), "SSE_MAX_STREAMS_PER_USER": "10000", "SHUTDOWN_TIMEOUT": str(DRAIN),
            "UPLOADS_PER_HOUR": "0", "UPLOAD_QUOTA_BYTES": "0", "UPLOAD_MAX_CONCURRENT_PER_USER": "0",
            "REQUESTS_PER_SIGN_IN": "0", "REQUESTS_PER_ADDRESS": "0"}
        self.servers = [Server(self, f"server-{number + 1}") for number in range(3)]
        # A fourth server, to which only the database's faults happen: its memory shows what a soak does to a server.
        self.witness = Server(self, "witness") if has_witness else None

    @property
    def all_servers(self):
        return self.servers + ([self.witness] if self.witness else [])

    async def start(self):
        self.primary.create().start()
        self.sql("CREATE DATABASE therapybridge", database="postgres")
        owner = {"DATABASE_MIGRATE_URL": self.primary.url()}
        self.command("migrate", "up", **owner)
        self.users = {}
        people = {"admin": "admin", "pipeline": "pipeline", "therapist": "therapist"}
        people |= {f"patient-{number}": "patient" for number in range(PATIENTS)}
        for name, role in people.items():
            self.users[name] = self.command("user", "add", "--email", f"{name}@faults.test", "--name", name, "--role", role, **owner)
        self.command("user", "set-password", "--email", "therapist@faults.test", input=PASSWORD + "\n", **owner)
        self.patients = [self.users[f"patient-{number}"] for number in range(PATIENTS)]
        for number in range(PATIENTS):
            self.command("assign", "--therapist", "therapist@faults.test", "--patient", f"patient-{number}@faults.test", **owner)
        for server in self.all_servers:
            await server.start()
        self.start_nginx()
        await happens("nginx answers", self.proxy_answers)
        self.tokens = {
            name: self.command("token", "--email", f"{name}@faults.test", "--ttl", "604800", **owner, **self.settings)
            for name in self.users}

    async def proxy_answers(self):
        try:
            return (await request(self.port, "GET", "/health"))[0] == 200
        except Unanswered:
            return False

    def start_nginx(self):
        """Starts nginx with the site of deploy/proxies, without TLS, and with all servers."""
        text = (ROOT / "deploy/proxies/nginx.conf").read_text()
        servers = "\n".join(f"    server 127.0.0.1:{server.port} max_fails=0;" for server in self.all_servers)
        text = text.replace("    server 127.0.0.1:8000;", servers).replace("listen 443 ssl http2;", f"listen 127.0.0.1:{self.port};")
        # The second site only leads to TLS.
        text = text[:text.index("server {\n    listen 80;")]
        text = "\n".join(line for line in text.splitlines() if "listen [::]" not in line and "ssl_" not in line)
        text = text.replace("/var/log/nginx", str(self.folder))
        file = self.folder / "nginx.conf"
        file.write_text(
            f"daemon off; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx.log; worker_processes 1;\n"
            f"events {{ worker_connections 8192; }}\nhttp {{\nclient_body_temp_path {self.folder}/body;\n{text}\n}}\n")
        with open(self.folder / "nginx.out", "ab") as log:
            self.nginx = subprocess.Popen(["nginx", "-p", str(self.folder), "-c", str(file)], stdout=log, stderr=log,
                                          start_new_session=True)

    def stop_nginx(self):
        """Kills nginx with its worker processes, and cuts all connections."""
        if self.nginx and self.nginx.poll() is None:
            os.killpg(self.nginx.pid, signal.SIGKILL)
            self.nginx.wait()

    async def add_standby(self):
        """Makes a standby that streams from the primary, through a link, and returns both."""
        place = 1 - self.slots.index(self.primary)
        self.clusters += 1
        shutil.rmtree(self.slots[place].folder, ignore_errors=True)
        standby = Cluster(self.folder / f"postgres-{self.clusters}", self.slots[place].port)
        link = await Link(self.primary.port).start()
        await asyncio.to_thread(standby.copy, link.port)
        await asyncio.to_thread(standby.start)
        self.slots[place] = standby

        async def streams():
            return self.sql("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'") != []
        await happens("the standby streams", streams)
        return standby, link

    def promote(self, standby):
        """Makes a standby the primary."""
        self.primary = standby
        self.sql("SELECT pg_promote(wait_seconds => 60)")

    def sql(self, text, database="therapybridge"):
        """Runs SQL as the superuser of the primary, and returns the rows as lists of texts."""
        run = subprocess.run(
            [shutil.which("psql"), "-X", "-q", "-At", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d",
             self.primary.url(database=database)], input=text, capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(run.stderr)
        return [line.split("\t") for line in run.stdout.splitlines()]

    def command(self, *arguments, input=None, **settings):
        run = subprocess.run(
            [self.program, *arguments], env={**os.environ, **settings}, capture_output=True, text=True, input=input or "")
        if run.returncode != 0:
            raise SystemExit(f"{arguments}: {run.stderr}")
        return run.stdout.strip()

    def stop(self):
        for server in self.all_servers:
            if server.process and server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
                server.process.terminate()
        for server in self.all_servers:
            if server.process:
                try:
                    server.process.wait(DRAIN + 10 * SLOWNESS)
                except subprocess.TimeoutExpired:
                    server.kill()
        self.stop_nginx()
        for cluster in self.slots:
            cluster.stop(signal.SIGINT)
        if self.has_disk:
            subprocess.run(["umount", "--lazy", str(self.disk)])
