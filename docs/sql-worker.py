#!/usr/bin/env python3
"""A whole worker by SQL. To run it: DATABASE_URL=… UPLOAD_DIR=… TRANSCRIBE=/opt/whisper/run ./sql-worker.py"""
import json, os, shutil, subprocess, tempfile, threading, time, urllib.request

import psycopg                                     # version 3
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb

COMMAND = os.environ["TRANSCRIBE"].split()  # prints {"text": …, "segments": […]} for the file in its last argument

def keep(claim, done):
    while not done.wait(20):                       # a third of the lease
        kept = db.execute("SELECT app.keep_lease(%s, %s, interval '60 seconds', %s)",
                          (claim.session_id, claim.attempt, claim.lease)).fetchone()[0]
        if not kept:
            return

def fetch(claim, file):
    """Copies the recording. An encrypted one comes from a server, with the token of a pipeline account."""
    if claim.recording.endswith(".enc"):
        source = urllib.request.urlopen(urllib.request.Request(
            f"{os.environ['TB_URL']}/api/sessions/{claim.session_id}/recording",
            headers={"Authorization": f"Bearer {os.environ['TB_TOKEN']}", "Pipeline-Lease": claim.lease}))
    else:
        source = open(os.path.join(os.environ["UPLOAD_DIR"], claim.recording), "rb")
    with source:
        shutil.copyfileobj(source, file)
    file.flush()

def work(claim):
    def report(status, progress, message=None, error=None):
        db.execute("SELECT app.report_progress(%s, %s, %s, %s, %s, attempt => %s, lease => %s)",
                   (claim.session_id, status, progress, message, error, claim.attempt, claim.lease))

    done = threading.Event()
    threading.Thread(target=keep, args=(claim, done), daemon=True).start()
    try:
        if claim.status not in ("transcribed", "extracting_notes"):           # a takeover continues at this status
            if claim.status in ("pending", "preprocessing"):
                report("transcribing", 20, "Transcribing audio")
            with tempfile.NamedTemporaryFile() as file:
                fetch(claim, file)
                result = subprocess.run([*COMMAND, file.name], stdout=subprocess.PIPE)
            if result.returncode != 0:
                return report("failed", 0, error="The transcriber could not read this recording.")
            db.execute("SELECT app.store_transcript(%s, %s, %s, %s)",
                       (claim.session_id, claim.attempt, Jsonb(json.loads(result.stdout)), claim.lease))
            report("transcribed", 60)
        report("processed", 100)
    except (psycopg.errors.CheckViolation, psycopg.errors.InsufficientPrivilege, psycopg.errors.NoDataFound):
        pass                                       # another worker has the session, or it was cancelled or deleted
    finally:
        done.set()

# Any other error ends the program. Its lease then runs out, and another worker claims the session.
db = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, row_factory=namedtuple_row)
while True:
    claim = db.execute("SELECT * FROM app.claim_session(%s, interval '60 seconds')", ["worker-7"]).fetchone()
    if claim:
        work(claim)
    else:
        time.sleep(5)
