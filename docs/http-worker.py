#!/usr/bin/env python3
"""A whole worker over HTTP. To run it: TB_URL=https://… TB_TOKEN=… TRANSCRIBE=/opt/whisper/run ./http-worker.py"""
import contextlib, json, os, subprocess, tempfile, threading, time, urllib.error, urllib.request

def call(method, path, body=None, **headers):  # returns the bytes of the answer, and waits for a server that is away
    headers |= {"Authorization": "Bearer " + os.environ["TB_TOKEN"], "Content-Type": "application/json"}
    data = body and json.dumps(body).encode()
    request = urllib.request.Request(os.environ["TB_URL"] + path, data, headers, method=method)
    while True:
        try:
            return urllib.request.urlopen(request, timeout=90).read()
        except OSError as error:               # no connection, or an HTTPError
            if getattr(error, "code", 503) not in (429, 502, 503, 504):
                raise LookupError(path) if error.code in (404, 409) else error     # deleted, cancelled or taken over
            time.sleep(float(getattr(error, "headers", {}).get("Retry-After", 2)))

def keep(lease_of, proof):                     # until the lease ends, as it does with its session
    with contextlib.suppress(LookupError):
        while True:
            time.sleep(20)                     # a third of the lease
            call("POST", f"/api/pipeline/leases/{lease_of}", {**proof, "lease_seconds": 60})

def work(session_id, attempt, status, lease, **_):
    path, proof = f"/api/sessions/{session_id}", {"attempt": attempt, "lease": lease}
    report = lambda **members: call("POST", path + "/progress", {"progress": 0, **proof, **members})
    threading.Thread(target=keep, args=(session_id, proof), daemon=True).start()
    if status not in ("transcribed", "extracting_notes"):      # a takeover continues at this status
        if status in ("pending", "preprocessing"):
            report(status="transcribing", progress=20, message="Transcribing audio")
        with tempfile.NamedTemporaryFile() as file:
            file.write(call("GET", path + "/recording", **{"Pipeline-Lease": lease}))
            file.flush()
            result = subprocess.run([*os.environ["TRANSCRIBE"].split(), file.name], stdout=subprocess.PIPE)
        if result.returncode != 0:             # TRANSCRIBE prints {"text": …, "segments": […]}, or fails
            return report(status="failed", error="The transcriber could not read this recording.")
        call("PUT", path + "/transcript", {**json.loads(result.stdout), **proof})
        report(status="transcribed", progress=60)
    report(status="processed", progress=100)

while True:
    if claim := call("POST", "/api/pipeline/claim", {"worker": "worker-7", "lease_seconds": 60}, Prefer="wait=30"):
        with contextlib.suppress(LookupError): # the session is not this worker's any more
            work(**json.loads(claim))
