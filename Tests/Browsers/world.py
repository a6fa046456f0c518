"""The server, the accounts and the pipeline that the journeys meet."""
import itertools
import os
import subprocess
import time
import uuid

from network import Network, database_socket
from running import free_port
from scene import FOLDER, call, password, wait_for, wave

PASSWORD = "a long walk on the pier"
WORDS = [
    (0.0, 4.0, "Therapist", "Last week we spoke about the house."),
    (4.0, 9.5, "Patient", "I have thought about it every day since."),
    (9.5, 14.0, "Therapist", "What did you think about most?"),
    (14.0, 21.0, "Patient", "The stairs. How small they were, and how loud."),
]
NOTES = {"summary": "They spoke about the house of her childhood.", "themes": ["memory", "family"], "risk": "none"}


class Person:
    """An account. `email` and `name` are unique in the run."""

    def __init__(self, site, role, name, email):
        self.site, self.role, self.name, self.email = site, role, name, email
        self.id = call(site.url, "POST", "/api/users", site.admin, {
            "email": email, "full_name": name, "role": role, "password": PASSWORD})["id"]

    @property
    def token(self):
        return sign_in(self.site.url, self.email, PASSWORD)


class Site:
    """A server without a worker, over the database of `therapybridge dev`, and the networks around it.

    Browsers reach it through `network`, and it reaches its database through `database`. A direct one does without both: they run
    in this process, which costs a measurement more than what it measures.
    """

    numbers = itertools.count(1)

    def __init__(self, is_direct=False, **settings):
        with open(os.path.join(FOLDER, "jwt-secret")) as file:
            secret = file.read()
        self.database = Network(database_socket(FOLDER))
        self.port = free_port()
        self.network = Network(self.port)
        self.url, self.address = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.network.port}"
        host = f"host=127.0.0.1 port={self.database.port}"
        if is_direct:
            socket, self.address = database_socket(FOLDER), self.url
            host = f"host={os.path.dirname(socket)} port={socket.rpartition('.')[2]}"
        self.environment = {
            **os.environ,
            "DATABASE_URL": f"{host} dbname=therapybridge user=therapybridge_server sslmode=disable",
            "JWT_SECRET": secret, "UPLOAD_DIR": os.path.join(FOLDER, "recordings"), "PORT": str(self.port),
            "PUBLIC_URL": self.address, "LOG_LEVEL": "warning", "UPLOADS_PER_HOUR": "0", "UPLOAD_MAX_CONCURRENT_PER_USER": "0",
            "UPLOAD_QUOTA_BYTES": "0", "REQUESTS_PER_SIGN_IN": "0", "REQUESTS_PER_ADDRESS": "0",
            "UPLOAD_MAX_BYTES": str(200 << 20), **settings}
        self.process = None
        self.token, self.token_until = None, 0
        self.start()
        self.pipeline, self.claimed = None, {}

    def start(self):
        self.process = subprocess.Popen([os.environ["TB_PROGRAM"], "serve", "--no-worker"], env=self.environment)
        wait_for("the server is ready", self.is_ready)

    def is_ready(self):
        if self.process.poll() is not None:
            raise SystemExit("the server did not start")
        try:
            return call(self.url, "GET", "/health/ready")
        except OSError:
            return None

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def close(self):
        self.stop()
        self.network.close()
        self.database.close()

    # Accounts

    @property
    def admin(self):
        """An administrator's token, of which at least half of the lifetime is left."""
        if time.monotonic() > self.token_until:
            lifetime = float(self.environment.get("JWT_ACCESS_TTL", 1800))
            self.token, self.token_until = sign_in(self.url, "admin@demo.test", password()), time.monotonic() + lifetime / 2
        return self.token

    def person(self, role, name=None):
        number = next(Site.numbers)
        name = name or {"therapist": "Tessa Marlow", "patient": "Ada Quinn", "admin": "Amir Dahl"}.get(role, role.title())
        # Each journey looks for its own names only.
        return Person(self, role, f"{name} {number}", f"{role}{number}.{uuid.uuid4().hex[:6]}@journeys.test")

    def pair(self):
        """A therapist, and a patient who is assigned to the therapist."""
        therapist, patient = self.person("therapist"), self.person("patient")
        self.assign(therapist, patient)
        return therapist, patient

    def assign(self, therapist, patient, method="PUT"):
        call(self.url, method, f"/api/therapists/{therapist.id}/patients/{patient.id}", self.admin)

    def change(self, person, **changes):
        call(self.url, "PATCH", f"/api/users/{person.id}", self.admin, changes)

    # Sessions

    def session(self, patient, filename="walk.ogg", date=None, size=40_000):
        """Uploads a recording, and returns the id of its session. `size` is that of a WAV."""
        boundary, session = uuid.uuid4().hex, str(uuid.uuid4())
        with open(os.path.join(FOLDER, "demo-recording.ogg"), "rb") as file:
            audio = file.read() if filename.endswith(".ogg") else wave(size)
        parts = [("patient_id", "", patient.id.encode()), ("session_id", "", session.encode())]
        if date:
            parts.append(("session_date", "", date.encode()))
        parts.append(("file", f'; filename="{filename}"', audio))
        body = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"
            for name, more, value in parts) + f"--{boundary}--\r\n".encode()
        call(self.url, "POST", "/api/sessions/upload", self.admin, body, f"multipart/form-data; boundary={boundary}")
        return session

    def report(self, session, status, progress, **more):
        """Reports progress as an administrator."""
        return call(self.url, "POST", f"/api/sessions/{session}/progress", self.admin, {"status": status, "progress": progress, **more})

    def fail(self, session, error="The speech service did not answer."):
        return self.report(session, "failed", 0, error=error)

    def get(self, path, token=None):
        return call(self.url, "GET", path, token or self.admin)

    def claim(self, session):
        """Claims a session as a pipeline does, and returns the work on it. The queue gives the oldest session first."""
        if self.pipeline is None:
            self.pipeline = self.person("pipeline").token
        while session not in self.claimed:
            claim = call(self.url, "POST", "/api/pipeline/claim", self.pipeline, {"worker": "journey", "lease_seconds": 3600})
            if not claim:
                raise AssertionError(f"{session} is not in the queue")
            self.claimed[claim["session_id"]] = claim
        return Work(self, self.claimed.pop(session))

    def sql(self, text, user="therapybridge_server"):
        """Runs statements in the database, without the network around it."""
        path = database_socket(FOLDER)
        subprocess.run(
            ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-h", os.path.dirname(path), "-p", path.rsplit(".", 1)[1], "-U", user,
             "-d", "therapybridge", "-f", "-"], input=text, text=True, check=True, stdout=subprocess.DEVNULL)

    def processed(self, session):
        """Takes a session to its end, with transcript and notes."""
        self.claim(session).finish()
        return session


class Work:
    """A claimed session."""

    def __init__(self, site, claim):
        self.site, self.session = site, claim["session_id"]
        self.proof = {"lease": claim["lease"], "attempt": claim["attempt"]}

    def report(self, status, progress, **more):
        call(self.site.url, "POST", f"/api/sessions/{self.session}/progress", self.site.pipeline,
             {"status": status, "progress": progress, **self.proof, **more})

    def transcript(self, words=WORDS, is_final=True, **more):
        segments = [{"start": start, "end": end, "speaker": speaker, "text": text} for start, end, speaker, text in words]
        call(self.site.url, "PUT", f"/api/sessions/{self.session}/transcript", self.site.pipeline, {
            "text": " ".join(each["text"] for each in segments), "segments": segments, "duration_seconds": 61.0,
            "is_final": is_final, **self.proof, **more})

    def notes(self, notes=NOTES):
        call(self.site.url, "PUT", f"/api/sessions/{self.session}/notes", self.site.pipeline, {**notes, **self.proof})

    def finish(self):
        self.report("transcribing", 45)
        self.transcript()
        self.report("transcribed", 80)
        self.report("extracting_notes", 90)
        self.notes()
        self.report("processed", 100)


def sign_in(url, email, secret):
    return call(url, "POST", "/api/auth/login", body={"email": email, "password": secret})["access_token"]
