"""Servers, connections and uploads for the suites of this folder."""
import glob
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import struct
import subprocess
import threading
import time
import uuid
from urllib.parse import urlsplit

from tusclient import client as tus

FOLDER = os.environ["TB_FOLDER"]
RECORDINGS = os.path.join(FOLDER, "recordings")


class Server:
    """One server of two, in its own process."""

    def __init__(self, **settings):
        (found,) = glob.glob(os.path.join(FOLDER, "postgres", "run", ".s.PGSQL.*[0-9]"))
        with open(os.path.join(FOLDER, "jwt-secret")) as file:
            secret = file.read()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.environment = {
            **os.environ,
            "DATABASE_URL": f"host={os.path.dirname(found)} port={found.rsplit('.', 1)[1]} dbname=therapybridge user=therapybridge_server",
            "JWT_SECRET": secret, "UPLOAD_DIR": RECORDINGS, "PORT": str(self.port), "LOG_LEVEL": "warning",
            "UPLOADS_PER_HOUR": "0", "UPLOAD_QUOTA_BYTES": "0", "UPLOAD_MAX_CONCURRENT_PER_USER": "0",
            "REQUESTS_PER_SIGN_IN": "0", "REQUESTS_PER_ADDRESS": "0", "UPLOAD_MAX_BYTES": str(1 << 30), **settings}
        self.process = None
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen([os.environ["TB_PROGRAM"], "serve", "--no-worker"], env=self.environment)
        while True:
            try:
                if call(self, "GET", "/health/ready")[0] == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.1)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def memory(self):
        """The resident memory in bytes."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def call(server, method, path, token=None, body=None, headers=None):
    """Sends one request, and returns status, headers and body."""
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=120)
    headers = dict(headers or {})
    if token:
        headers["Authorization"] = "Bearer " + token
    if isinstance(body, dict):
        body, headers["Content-Type"] = json.dumps(body), "application/json"
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, answer.headers, data


def sign_in(server, who="therapist"):
    with open(os.path.join(FOLDER, "demo-password")) as file:
        body = {"email": f"{who}@demo.test", "password": file.read()}
    return json.loads(call(server, "POST", "/api/auth/login", body=body)[2])["access_token"]


class Link:
    """A connection to a server that cuts itself after so many bytes, for each of the numbers given."""

    def __init__(self, server, cuts):
        self.server, self.cuts = server, list(cuts)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                inner, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(inner,), daemon=True).start()

    def carry(self, inner):
        try:
            outer = socket.create_connection(("127.0.0.1", self.server.port))
        except OSError:
            inner.close()
            return
        threading.Thread(target=pump, args=(outer, inner, None), daemon=True).start()
        pump(inner, outer, self)

    def left(self, count):
        """The bytes that a request may still send, of those that it wants to; None cuts the link now."""
        if not self.cuts:
            return count
        if count > self.cuts[0]:
            self.cuts.pop(0)
            return None
        self.cuts[0] -= count
        return count

    def close(self):
        self.listener.close()


def pump(source, target, link):
    try:
        while piece := source.recv(65536):
            if link is not None and link.left(len(piece)) is None:
                target.sendall(piece[: len(piece) // 2])
                # Half of the cuts end without a FIN that the server could see as an end.
                if random.random() < 0.5:
                    target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                break
            target.sendall(piece)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()


def wave(path, size, seed):
    """Writes a WAV file of noise, and returns its SHA-256."""
    digest, noise = hashlib.sha256(), random.Random(seed)
    with open(path, "wb") as file:
        header = b"RIFF" + struct.pack("<I", size - 8) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
        header += b"data" + struct.pack("<I", size - 44)
        left = size
        for piece in [header]:
            file.write(piece), digest.update(piece)
            left -= len(piece)
        while left:
            piece = noise.randbytes(min(left, 1 << 20))
            file.write(piece), digest.update(piece)
            left -= len(piece)
    return digest.hexdigest()


class Upload:
    """One recording, and the session that gets it."""

    def __init__(self, server, token, size, seed=None, patient=None):
        self.server, self.token = server, token
        self.session = str(uuid.uuid4())
        self.path = os.path.join(FOLDER, f"{self.session}.wav")
        self.sha256 = wave(self.path, size, seed or self.session)
        patient = patient or json.loads(call(server, "GET", "/api/patients", token)[2])["items"][0]["id"]
        self.metadata = {
            "filename": "Sitzung Müller.wav", "filetype": "audio/wav", "patient_id": patient, "session_id": self.session,
        }

    def uploader(self, address=None, **arguments):
        """A tuspy uploader; address replaces that of the server."""
        client = tus.TusClient((address or self.server.url) + "/api/uploads", headers={"Authorization": "Bearer " + self.token})
        arguments = {"retries": 30, "retry_delay": 1, **arguments}
        return client.uploader(self.path, metadata=self.metadata, **arguments)

    def check(self, server=None):
        """Downloads the recording, and compares it with the file."""
        server = server or self.server
        status, headers, body = call(server, "GET", f"/api/sessions/{self.session}/status", self.token)
        progress = json.loads(body)
        assert progress["status"] != "uploading" and progress["progress"] >= 20, progress
        status, headers, body = call(server, "GET", f"/api/sessions/{self.session}/recording", self.token)
        assert status == 200, status
        assert hashlib.sha256(body).hexdigest() == self.sha256, "the recording is not what was uploaded"
        os.remove(self.path)


def leftovers():
    """The folders of unfinished uploads."""
    return [name for name in os.listdir(RECORDINGS) if name.endswith(".parts")]
