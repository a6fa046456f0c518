"""A journey with the client that openapi-python-client has generated."""
import base64
import io
import os
import time
import uuid
from http import HTTPStatus

from therapybridge_client import AuthenticatedClient, Client
from therapybridge_client.api.people import list_patients
from therapybridge_client.api.progress import cancel_session, get_status, list_transitions, retry_session, ticket_for_session, watch_session
from therapybridge_client.api.sessions import (
    continue_upload, create_upload, delete_session, end_upload, get_notes, get_recording, get_session, get_transcript,
    list_sessions, upload, upload_offset)
from therapybridge_client.api.signing_in import list_own_sign_ins, refresh, sign_in, sign_out, who_am_i
from therapybridge_client.models import Credentials, Problem, RefreshRequest, UploadForm, ValidationProblem
from therapybridge_client.types import File

from scene import FOLDER, password, wave

URL = os.environ["TB_URL"]


def say(text):
    print(f"  openapi-python-client: {text}", flush=True)


def wait(client, session, *statuses):
    """Polls until the session has one of the statuses, with the ETag of the last answer."""
    tag = None
    while True:
        answer = get_status.sync_detailed(session, client=client, **({"if_none_match": tag} if tag else {}))
        if answer.status_code != HTTPStatus.NOT_MODIFIED:
            assert answer.status_code == HTTPStatus.OK, answer
            tag = answer.headers["ETag"]
            if answer.parsed.status in statuses:
                return answer.parsed
        time.sleep(0.3)


def form(patient, content, name, **fields):
    return UploadForm(patient_id=patient, file=File(payload=io.BytesIO(content), file_name=name, mime_type="audio/ogg"), **fields)


def main():
    anyone = Client(base_url=URL, raise_on_unexpected_status=True)
    tokens = sign_in.sync(client=anyone, body=Credentials(email="therapist@demo.test", password=password()))
    renewed = refresh.sync(client=anyone, body=RefreshRequest(refresh_token=tokens.refresh_token))
    client = AuthenticatedClient(base_url=URL, token=renewed.access_token, raise_on_unexpected_status=True, timeout=60)
    assert who_am_i.sync(client=client) == tokens.user
    assert any(item.is_current for item in list_own_sign_ins.sync(client=client).items)
    patient = list_patients.sync(client=client).items[0].id
    say("signed in")

    with open(os.path.join(FOLDER, "demo-recording.ogg"), "rb") as file:
        recording = file.read()
    chosen = uuid.uuid4()
    session = upload.sync(client=client, body=form(patient, recording, "a.ogg", session_id=chosen, language="en"))
    assert session.id == chosen and session.language == "en", session
    again = upload.sync_detailed(client=client, body=form(patient, recording, "a.ogg", session_id=chosen))
    assert again.status_code == HTTPStatus.OK and again.parsed.id == chosen, again
    end = wait(client, chosen, "processed", "failed")
    assert end.status == "processed" and end.progress == 100, end
    assert list_transitions.sync(chosen, client=client).items[0].status in ("uploading", "pending")
    transcript = get_transcript.sync(chosen, client=client)
    assert transcript.is_final and len(transcript.segments) == end.segments > 0, transcript
    # The generated function reads only the first type of the answer, which is JSON. Its client sends any request.
    subtitles = client.get_httpx_client().get(f"/api/sessions/{chosen}/transcript", params={"format": "srt"})
    assert subtitles.status_code == HTTPStatus.OK and " --> " in subtitles.text, subtitles
    assert get_notes.sync(chosen, client=client)["summary"]
    assert get_recording.sync(chosen, client=client).payload.read() == recording
    stream = watch_session.sync(chosen, client=client)
    assert "event: complete\n" in stream, stream
    finished = watch_session.sync_detailed(chosen, client=client, last_event_id_header=str(end.version))
    assert finished.status_code == HTTPStatus.NO_CONTENT, finished
    assert ticket_for_session.sync(chosen, client=client).expires_in == 30
    assert chosen in [item.id for item in list_sessions.sync(client=client).items]
    say("uploaded, watched to the end, and read the results")

    second = upload.sync(client=client, body=form(patient, recording, "b.ogg")).id
    assert cancel_session.sync(second, client=client).status == "failed"
    refused = cancel_session.sync(second, client=client)
    assert isinstance(refused, Problem) and refused.type_ == "/problems/conflict", refused
    assert retry_session.sync(second, client=client).attempt == 2
    cancel_session.sync(second, client=client)
    for removed in (second, chosen):
        assert delete_session.sync_detailed(removed, client=client).status_code == HTTPStatus.NO_CONTENT
        assert isinstance(get_session.sync(removed, client=client), Problem)
    say("cancelled, retried and deleted")

    resume(client, patient)
    invalid = list_sessions.sync(client=client, limit=1000)
    assert isinstance(invalid, ValidationProblem) and invalid.errors[0].field == "limit", invalid
    assert sign_out.sync_detailed(client=client).status_code == HTTPStatus.NO_CONTENT
    assert isinstance(who_am_i.sync(client=client), Problem)
    say("signed out")


def resume(client, patient):
    """An upload by tus in two pieces, and one that is ended."""
    content = wave(200_000)
    metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in [
        ("filename", "Sitzung.wav"), ("filetype", "audio/wav"), ("patient_id", str(patient))])

    def piece(part):
        return File(payload=io.BytesIO(part), mime_type="application/offset+octet-stream")

    def create():
        answer = create_upload.sync_detailed(
            client=client, body=piece(b""), upload_length=len(content), upload_metadata=metadata)
        assert answer.status_code == HTTPStatus.CREATED, answer
        return uuid.UUID(answer.headers["Location"].rsplit("/", 1)[1])

    begun = create()
    first = continue_upload.sync_detailed(begun, client=client, body=piece(content[:150_000]), upload_offset=0)
    assert first.status_code == HTTPStatus.NO_CONTENT and first.headers["Upload-Offset"] == "150000", first
    assert upload_offset.sync_detailed(begun, client=client).headers["Upload-Offset"] == "150000"
    last = continue_upload.sync_detailed(begun, client=client, body=piece(content[150_000:]), upload_offset=150_000)
    session = uuid.UUID(last.headers["Content-Location"].rsplit("/", 1)[1])
    assert get_session.sync(session, client=client).bytes_ == len(content)
    assert delete_session.sync_detailed(session, client=client).status_code == HTTPStatus.NO_CONTENT
    assert end_upload.sync_detailed(create(), client=client).status_code == HTTPStatus.NO_CONTENT
    say("uploaded in pieces")


main()
