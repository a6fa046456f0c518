"""The examples for a shell and for pipelines: those of the README, docs/streams.md and docs/pipeline.md, as they stand there.

The README's run against the server of `therapybridge dev`, with its worker. The others have a server and a worker of their own.
"""
import glob
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from scene import FOLDER, Server, call, password, wait_for

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(FOLDER, "pages")


def blocks(page, language):
    text = (ROOT / page).read_text(encoding="utf-8")
    return [body for found, body in re.findall(r"^ *```(\S*)[^\n]*\n(.*?)^ *```$", text, re.M | re.S) if found == language]


def block(page, language, words):
    """The one block of a page that has these words."""
    (found,) = [text for text in blocks(page, language) if words in text]
    return found


def bash(script, **variables):
    """Runs a script in a folder of its own, and returns what it printed."""
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=HERE, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{script}\n{run.stdout}{run.stderr}"
    return run.stdout


def database():
    """Folder and port of the socket of PostgreSQL."""
    (path,) = glob.glob(os.path.join(FOLDER, "postgres", "run", ".s.PGSQL.*[0-9]"))
    return os.path.dirname(path), path.rsplit(".", 1)[1]


def url(user):
    folder, port = database()
    return f"host={folder} port={port} dbname=therapybridge user={user}"


def readme():
    """The journey with curl, in a folder that has the .data of `make run`."""
    script = block("README.md", "sh", "/api/sessions/upload")
    said = bash(script.replace("U=http://127.0.0.1:8000", f"U={os.environ['TB_URL']}"))
    assert "event: complete" in said and '"is_final":true' in said, said[-3000:]


def journey():
    """The whole journey with curl, and what has become of its session and its sign-in."""
    script = block("docs/clients.md", "bash", "/api/auth/logout")
    said = bash(
        script + 'for path in "sessions/$S" auth/me; do curl -s -o /dev/null -w "%{http_code} " "$U/api/$path" -H "Authorization: Bearer $T"; done',
        U=os.environ["TB_URL"], EMAIL="therapist@demo.test", PASSWORD=password(), FILE=os.path.join(FOLDER, "demo-recording.ogg"))
    told = ['"status":"pending"', "event: complete", '"attempt":2', '"error":"Cancelled"', "401 401 "]
    places = [said.find(each) for each in told]
    assert -1 not in places and places == sorted(places), (told, places, said[-3000:])


def stream(server, session):
    line = block("docs/streams.md", "sh", "curl -N")
    said = bash(line.replace("http://127.0.0.1:8000", server.url), T=server.therapist, S=session)
    assert "event: complete" in said, said


def program(name, text):
    path = HERE / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def stage(server, command, failure=None):
    """Runs a worker whose transcriber is a command, until it has worked on a session; returns the session."""
    session = server.new_session()
    with open(os.path.join(FOLDER, "jwt-secret"), encoding="utf-8") as file:
        secret = file.read()
    worker = subprocess.Popen([os.environ["TB_PROGRAM"], "work"], env={
        **os.environ, "DATABASE_URL": url("therapybridge_server"), "JWT_SECRET": secret, "LOG_LEVEL": "warning",
        "UPLOAD_DIR": os.path.join(FOLDER, "recordings"), "PIPELINE_TRANSCRIBE_COMMAND": command,
        "PIPELINE_WORK_DIR": str(HERE / "work")})
    try:
        wanted = "failed" if failure else "processed"

        def is_over():
            state = call(server.url, "GET", f"/api/sessions/{session}/status", server.therapist)
            assert worker.poll() is None, "the worker has ended"
            assert state["status"] == wanted or state["status"] not in ("failed", "processed"), state
            return state["status"] == wanted and state

        state = wait_for(f"{command}: {wanted}", is_over)
        assert not failure or state["error"] == failure, state
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait()
    return session


def transcript(server, session):
    return call(server.url, "GET", f"/api/sessions/{session}/transcript", server.therapist)


def stages(server):
    """The stage in Python, around a transcriber of two lines; and the lines that a stage may print."""
    text = block("docs/pipeline.md", "python", "def say(")
    for name, heard in [("stage", [(0.0, 0.3, "Good"), (0.3, 0.5, "morning.")]), ("deaf", [])]:
        command = program(f"{name}.py", text.replace("import sys\n", f"import sys\n\ndef transcribe(path):\n    return {heard}\n", 1))
        if heard:
            found = transcript(server, stage(server, command))
            assert found["text"] == "Good morning." and [each["end"] for each in found["segments"]] == [0.3, 0.5], found
        else:
            stage(server, command, failure="No speech was found in the recording.")
    lines = program("lines", "#!/bin/sh\ncat <<'END'\n" + block("docs/pipeline.md", "", '{"result"') + "END\n")
    assert transcript(server, stage(server, lines))["text"] == "…"


def reports(server):
    """The account of a pipeline, and its reports by curl, in Python, and many at once."""
    folder = HERE / "bin"
    folder.mkdir()
    (folder / "therapybridge").symlink_to(os.environ["TB_PROGRAM"])
    with open(os.path.join(FOLDER, "jwt-secret"), encoding="utf-8") as file:
        secret = file.read()
    token = bash(
        block("docs/pipeline.md", "sh", "therapybridge token"), DATABASE_MIGRATE_URL=url("postgres"), JWT_SECRET=secret,
        PATH=f"{folder}:{os.environ['PATH']}").split()[-1]
    session = server.new_session()
    said = bash(block("docs/pipeline.md", "sh", "/progress -H"), U=server.url, T=token, S=session)
    assert json.loads(said)["progress"] == 45, said
    script = block("docs/pipeline.md", "python", "def report(")
    names = {"URL": server.url, "TOKEN": token, "session": server.new_session()}
    exec(script, names)  # The text is that of our page.
    assert names["report"](names["session"], status="transcribing", progress=50)["progress"] == 50
    many = block("docs/pipeline.md", "json", '"reports"').replace('"…"', json.dumps(server.new_session()))
    (result,) = call(server.url, "POST", "/api/progress", token, many.encode())["results"]
    assert "version" in result, result


def sql(server):
    """The work by SQL, as the role of pipelines."""
    session = server.new_session()
    statements = [text for text in re.sub(r"^--.*\n", "", block("docs/pipeline.md", "sql", "claim_session"), flags=re.M).split(";\n") if text.strip()]
    assert len(statements) == 5, statements
    lease = ""
    for number, statement in enumerate(statements):
        statement = statement.replace("('…',", f"('{session}',").replace("lease => '…'", f"lease => '{lease}'")
        if number == 0:
            # Other sessions may wait in front of ours.
            row = wait_for("the claim", lambda: (claim := psql(statement))[0] == session and claim)
            lease = row[5]
            assert row[1] == "1" and lease, row
        else:
            psql(statement)
        if "report_progress" in statement:
            state = call(server.url, "GET", f"/api/sessions/{session}/status", server.therapist)
            assert (state["status"], state["progress"]) == ("transcribing", 45), state
    assert transcript(server, session)["text"] == "…"


def psql(statement):
    folder, port = database()
    run = subprocess.run(
        ["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", "-h", folder, "-p", port, "-U", "therapybridge_pipeline", "-d", "therapybridge", "-c", statement],
        capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{statement}: {run.stderr}"
    return run.stdout.rstrip("\n").split("|")


def main():
    HERE.mkdir()
    (HERE / ".data").symlink_to(FOLDER)
    failed = False

    def run(name, check):
        nonlocal failed
        try:
            check()
            print(f"  {name}: passed", flush=True)
        except Exception as error:
            failed = True
            print(f"  {name}: FAILED: {error!r}", flush=True)

    run("the README's journey", readme)
    run("the whole journey with curl", journey)
    # The worker of `therapybridge dev` must not claim the sessions that follow.
    os.kill(int(os.environ["TB_SERVER"]), signal.SIGSTOP)
    server = Server()
    try:
        session = server.new_session()
        server.report(session, "transcribing", 20)
        server.report(session, "transcribed", 60)
        server.report(session, "processed", 100)
        run("a stream with curl", lambda: stream(server, session))
        run("stages", lambda: stages(server))
        run("reports", lambda: reports(server))
        run("work by SQL", lambda: sql(server))
    finally:
        server.stop()
    sys.exit(1 if failed else 0)


main()
