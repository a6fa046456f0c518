"""A server for the suites of this folder, its sessions, and a link that can be cut."""
import glob
import json
import os
import random
import re
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid

FOLDER = os.environ["TB_FOLDER"]

# Characters that line readers, decoders and JSON readers stumble over, and what the server makes of them.
WORDS = "Übertragung \u0085 \u2028 \u2029 \x0b\x0c\x1c\x1d\x1e 😀 \"quoted\" \\ data: x\nid: 9"
SHOWN = re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", WORDS)


def wait_for(what, condition, seconds=90):
    """Waits until a condition holds, and returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds} s still not: {what}")
        time.sleep(0.02)
    return value


class Server:
    """A server without a worker, over the database of `therapybridge dev`. Reports move its sessions."""

    def __init__(self, **settings):
        (found,) = glob.glob(os.path.join(FOLDER, "postgres", "run", ".s.PGSQL.*[0-9]"))
        with open(os.path.join(FOLDER, "jwt-secret")) as file:
            secret = file.read()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            **os.environ,
            "DATABASE_URL": f"host={os.path.dirname(found)} port={found.rsplit('.', 1)[1]} dbname=therapybridge user=therapybridge_server",
            "JWT_SECRET": secret, "UPLOAD_DIR": os.path.join(FOLDER, "recordings"), "PORT": str(self.port),
            "LOG_LEVEL": "warning", "UPLOADS_PER_HOUR": "0", "UPLOAD_MAX_CONCURRENT_PER_USER": "0",
            "REQUESTS_PER_SIGN_IN": "0", "REQUESTS_PER_ADDRESS": "0", **settings}
        self.process = subprocess.Popen([os.environ["TB_PROGRAM"], "serve", "--no-worker"], env=environment)
        wait_for("the server is ready", self.is_ready)
        self.therapist = sign_in(self.url, "therapist")
        self.admin = sign_in(self.url, "admin")
        self.patient = call(self.url, "GET", "/api/patients", self.therapist)["items"][0]["id"]

    def is_ready(self):
        if self.process.poll() is not None:
            raise SystemExit("the server did not start")
        try:
            return call(self.url, "GET", "/health/ready")
        except OSError:
            return None

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def new_session(self):
        """Uploads a recording, and returns the id of its session."""
        boundary, session = uuid.uuid4().hex, str(uuid.uuid4())
        parts = [("patient_id", "", self.patient.encode()), ("session_id", "", session.encode()),
                 ("file", '; filename="a.wav"', wave(20_000))]
        body = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"
            for name, more, value in parts) + f"--{boundary}--\r\n".encode()
        call(self.url, "POST", "/api/sessions/upload", self.therapist, body, f"multipart/form-data; boundary={boundary}")
        return session

    def report(self, session, status, progress, message=None):
        """Reports progress as a pipeline does."""
        body = {"status": status, "progress": progress, "message": message}
        return call(self.url, "POST", f"/api/sessions/{session}/progress", self.admin, body)


def call(url, method, path, token=None, body=None, content_type="application/json"):
    """Sends one request, and returns the JSON of the answer; an error status raises."""
    request = urllib.request.Request(url + path, method=method)
    if token:
        request.add_header("Authorization", "Bearer " + token)
    if body is not None:
        request.data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request.add_header("Content-Type", content_type)
    with urllib.request.urlopen(request, timeout=60) as answer:
        data = answer.read()
    return json.loads(data) if data else {}


def password():
    with open(os.path.join(FOLDER, "demo-password")) as file:
        return file.read().strip()


def sign_in(url, who):
    return call(url, "POST", "/api/auth/login", body={"email": f"{who}@demo.test", "password": password()})["access_token"]


def wave(size):
    """A WAV file of noise."""
    header = b"RIFF" + struct.pack("<I", size - 8) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    return header + b"data" + struct.pack("<I", size - 44) + random.randbytes(size - 44)


class Link:
    """A connection to a server that a suite can cut, and that keeps what it has carried."""

    def __init__(self, port):
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.requests, self.answers, self.open = [], [], []
        self.is_frozen = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                inner, _ = self.listener.accept()
                outer = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                return
            request, answer = bytearray(), bytearray()
            self.requests.append(request), self.answers.append(answer), self.open.append((inner, outer))
            threading.Thread(target=self.pump, args=(inner, outer, request), daemon=True).start()
            threading.Thread(target=self.pump, args=(outer, inner, answer), daemon=True).start()

    def pump(self, source, target, seen):
        try:
            while piece := source.recv(65536):
                if self.is_frozen:
                    continue
                seen += piece
                target.sendall(piece)
        except OSError:
            pass
        if not self.is_frozen:
            self.end(source, target)

    @staticmethod
    def end(*sockets):
        for each in sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def freeze(self):
        """From now on nothing arrives on either side, not even the end."""
        self.is_frozen = True

    def cut(self):
        """Cuts all connections, in the middle of the chunked body."""
        for pair in self.open:
            self.end(*pair)

    def close(self):
        self.listener.close()
        self.cut()
