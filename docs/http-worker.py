#!/usr/bin/env python3
"""A whole worker over HTTP. To run it: TB_URL=https://… TB_TOKEN=… TRANSCRIBE=/opt/whisper/run ./http-worker.py"""
import json, os, subprocess, tempfile, threading, urllib.error, urllib.request

URL, TOKEN = os.environ["TB_URL"], os.environ["TB_TOKEN"]
COMMAND = os.environ["TRANSCRIBE"].split()  # prints {"text": …, "segments": […]} for the file in its last argument

def call(method, path, body=None, **headers):
    """Sends JSON, and returns the bytes of the answer. Tries again until the server answers."""
    headers |= {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, headers, method=method)
    while True:
        try:
            with urllib.request.urlopen(request, timeout=90) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503):
                raise                              # such as 409: this worker has lost the session
            pause.wait(float(error.headers.get("Retry-After", 2)))
        except OSError:                            # no connection
            pause.wait(2)

def keep(session, proof, done):
    while not done.wait(20):                       # a third of the lease
        try:
            call("POST", f"/api/pipeline/leases/{session}", {**proof, "lease_seconds": 60})
        except urllib.error.HTTPError:
            return

def work(claim):
    session = claim["session_id"]
    proof, done = {"lease": claim["lease"], "attempt": claim["attempt"]}, threading.Event()
    report = lambda status, **members: call(
        "POST", f"/api/sessions/{session}/progress", {"status": status, **proof, "progress": 0, **members})
    threading.Thread(target=keep, args=(session, proof, done), daemon=True).start()
    try:
        if claim["status"] not in ("transcribed", "extracting_notes"):        # a takeover continues at this status
            if claim["status"] in ("pending", "preprocessing"):
                report("transcribing", progress=20, message="Transcribing audio")
            with tempfile.NamedTemporaryFile() as file:
                file.write(call("GET", f"/api/sessions/{session}/recording", **{"Pipeline-Lease": claim["lease"]}))
                file.flush()
                result = subprocess.run([*COMMAND, file.name], stdout=subprocess.PIPE)
            if result.returncode != 0:
                return report("failed", error="The transcriber could not read this recording.")
            call("PUT", f"/api/sessions/{session}/transcript", {**json.loads(result.stdout), **proof})
            report("transcribed", progress=60)
        report("processed", progress=100)
    except urllib.error.HTTPError as error:
        if error.code not in (404, 409):           # another worker has the session, or it was cancelled or deleted
            raise
    finally:
        done.set()

pause = threading.Event()
while True:
    claim = call("POST", "/api/pipeline/claim", {"worker": "worker-7", "lease_seconds": 60}, Prefer="wait=30")
    if claim:                                      # 204 has no body
        work(json.loads(claim))
