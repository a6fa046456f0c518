"""What has to be true at the end of a run."""
import os
import pathlib

from installation import MARKER


def session_faults(installation):
    """The sessions that were not processed exactly once, or whose transcript is of another worker or recording."""
    faults = []
    sql = installation.sql
    ends = {session: status for session, status in sql("SELECT session_id, status FROM app.session_progress")}
    if set(ends) != set(installation.digests):
        faults.append("the sessions in the database are not those that were uploaded")
    faults += [f"session {session} ended as {status}" for session, status in ends.items() if status != "processed"]
    faults += [
        f"session {session} became processed {count} times"
        for session, count in sql(
            """
            SELECT p.session_id, count(e.version) FROM app.session_progress p
            LEFT JOIN app.session_events e ON e.session_id = p.session_id AND e.status = 'processed'
            GROUP BY p.session_id HAVING count(e.version) <> 1
            """)
    ]
    faults += [
        f"session {session} stays in the queue" for session, in sql("SELECT session_id FROM app.session_leases")
    ]
    faults += [
        f"session {session} has segments of a partial transcript"
        for session, in sql("SELECT DISTINCT session_id FROM app.transcript_segments")
    ]
    faults += [
        f"the transcript of session {session} is of attempt {stored}, but attempt {done} ended the transcription"
        for session, stored, done in sql(
            """
            SELECT t.session_id, t.attempt, e.attempt FROM app.transcripts t
            JOIN app.session_events e ON e.session_id = t.session_id AND e.status = 'transcribed'
            WHERE e.version = (SELECT min(f.version) FROM app.session_events f
                               WHERE f.session_id = t.session_id AND f.status = 'transcribed')
              AND t.attempt <> e.attempt
            """)
    ]
    texts = dict(sql("SELECT session_id, body ->> 'text' FROM app.transcripts"))
    for session, digest in installation.digests.items():
        if texts.get(session, "").split(" ")[-1] != digest:
            faults.append(f"the transcript of session {session} is of another recording, or missing")
    return faults + lease_faults(installation)


def lease_faults(installation):
    """Transcripts of workers that did not hold the lease, and attempts that two claims share."""
    faults = [
        f"attempt {attempt} of session {session} was claimed {count} times"
        for session, attempt, count in installation.sql(
            "SELECT session_id, attempt, count(*) FROM watch.claims GROUP BY 1, 2 HAVING count(*) > 1")
    ]
    for session, attempt, text, worker, is_standing in installation.sql(
        "SELECT session_id, attempt, text, coalesce(worker, ''), coalesce(is_standing, false) FROM watch.transcripts"
    ):
        # The name of a bundled worker has its host and process: host/17.
        holder = "bundled" if "/" in worker else worker
        if is_standing != "t" or text.split(" ")[0] != holder:
            faults.append(f"a transcript of session {session}, attempt {attempt}, is of {text}, but {worker} had the lease")
    return faults


def file_faults(installation):
    """What killed workers have left in their folders, and files anywhere below them with a plain recording."""
    faults = [f"the work folder still has {path.name}" for path in installation.work.iterdir()]
    for folder in (installation.work, installation.recordings, installation.temporary):
        for parent, _, names in os.walk(folder):
            for name in names:
                path = pathlib.Path(parent, name)
                if path.is_file() and MARKER in path.read_bytes():
                    faults.append(f"a plain recording is left in {path}")
    return faults
