"""Receives deliveries and verifies them with the library `standardwebhooks`: verify.py URL PASSWORD

The receiver fails the first delivery of each session, and then accepts it. The session is a real upload of the demo therapist.
"""
import json
import pathlib
import queue
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

URL, PASSWORD = sys.argv[1].rstrip("/"), sys.argv[2]
# A delivery that failed comes again after 5 s.
PATIENCE = 120


class Receiver(BaseHTTPRequestHandler):
    arrivals = queue.Queue()
    seen = set()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        is_first = headers["webhook-id"] not in self.seen
        self.seen.add(headers["webhook-id"])
        self.send_response(503 if is_first else 204)
        self.send_header("Content-Length", "0") if is_first else None
        self.end_headers()
        self.arrivals.put((body, headers))

    def log_message(self, *_):
        pass


def call(method, path, token=None, body=None, content_type="application/json"):
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data=data, method=method)
    if data is not None:
        request.add_header("Content-Type", content_type)
    if token:
        request.add_header("Authorization", "Bearer " + token)
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        text = response.read()
        return json.loads(text) if text else None


def sign_in(email):
    return call("POST", "/api/auth/login", body={"email": email, "password": PASSWORD})


def recording():
    """One second of silence as WAV."""
    samples = b"\0\0" * 8000
    return (b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
            + b"data" + struct.pack("<I", len(samples)) + samples)


def upload(token, patient):
    boundary = uuid.uuid4().hex
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="patient_id"\r\n\r\n{patient}\r\n'.encode(),
             f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'.encode(),
             b"Content-Type: audio/wav\r\n\r\n", recording(), f"\r\n--{boundary}--\r\n".encode()]
    return call("POST", "/api/sessions/upload", token, b"".join(parts), f"multipart/form-data; boundary={boundary}")


def check(is_true, what):
    if not is_true:
        raise SystemExit("failed: " + what)
    print("ok:", what)


def examples(language):
    """The examples of docs/webhooks.md in a language."""
    text = (pathlib.Path(__file__).parents[2] / "docs/webhooks.md").read_text()
    return [part.split("```", 1)[0] for part in text.split(f"```{language}\n")[1:]]


def refuses(verifier, body, headers):
    try:
        verifier.verify(body, headers)
        return False
    except WebhookVerificationError:
        return True


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
admin = sign_in("admin@demo.test")["access_token"]
therapist = sign_in("therapist@demo.test")["access_token"]
hook = call("POST", "/api/webhooks", admin, {"url": f"http://127.0.0.1:{server.server_port}/in", "events": ["session.pending"]})
verifier = Webhook(hook["secret"])

# The examples of the documentation: add an endpoint with curl, and verify a delivery in Python and in Node.
[add], [verify_in_python], [verify_in_node] = examples("sh"), examples("python"), examples("js")
added = subprocess.run(
    ["bash", "-euc", add.replace("curl", "curl -sS --fail").replace("https://therapybridge.example", URL)],
    env={"PATH": "/usr/bin:/bin", "TOKEN": admin}, capture_output=True, text=True, check=True)
example = json.loads(added.stdout)
check(example["secret"].startswith("whsec_") and len(example["events"]) == 2, "the documented request adds an endpoint")
call("DELETE", f"/api/webhooks/{example['id']}", admin)

session = upload(therapist, call("GET", "/api/patients", therapist)["items"][0]["id"])["id"]
ids = []
while ids.count(ids[0] if ids else None) < 2:
    body, headers = Receiver.arrivals.get(timeout=PATIENCE)
    event = verifier.verify(body, headers)
    check(event["type"] == "session.pending" and event["data"]["session_id"] == session, "the library verifies a delivery")
    documented = {"secret": hook["secret"], "body": body, "headers": headers}
    exec(verify_in_python, documented)
    check(documented["event"] == event, "the documented Python verifies it")
    in_node = subprocess.run(
        ["node", pathlib.Path(__file__).parent / "node_example.mjs"], text=True, capture_output=True, check=True,
        input=json.dumps({"example": verify_in_node, "secret": hook["secret"], "body": body.decode(), "headers": headers}))
    check(json.loads(in_node.stdout) == event, "the documented JavaScript verifies it")
    check(set(event["data"]) == {"session_id", "status", "version", "attempt"}, "the delivery has ids and numbers alone")
    check(refuses(verifier, body.replace(b"pending", b"failed!"), headers), "a changed body is refused")
    check(refuses(verifier, body, {**headers, "webhook-id": "another"}), "another id is refused")
    check(refuses(Webhook("whsec_" + "A" * 32), body, headers), "another secret is refused")
    ids.append(headers["webhook-id"])
print("ok: a delivery that failed came again under the same id")

# After a change of the secret, a receiver with either secret verifies.
other = "whsec_" + "QUJD" * 8
call("PATCH", f"/api/webhooks/{hook['id']}", admin, {"secret": other})
call("POST", f"/api/webhooks/{hook['id']}/deliveries/{ids[0]}/retry", admin)
while True:
    body, headers = Receiver.arrivals.get(timeout=PATIENCE)
    if " " in headers["webhook-signature"]:
        break
verifier.verify(body, headers)
Webhook(other).verify(body, headers)
print("ok: both secrets verify after a change")
call("DELETE", f"/api/webhooks/{hook['id']}", admin)
server.shutdown()
