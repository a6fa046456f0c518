"""A journey with the client that openapi-generator has generated for Python."""
import base64
import os
import time
import uuid

from openapi_client import ApiClient, ApiException, Configuration
from openapi_client.api import PeopleApi, ProgressApi, SessionsApi, SigningInApi
from openapi_client.models import Credentials, RefreshRequest, StreamEvent, TranscriptFormat

from scene import FOLDER, password, wave

URL = os.environ["TB_URL"]


def say(text):
    print(f"  openapi-generator: {text}", flush=True)


def refusal(call, *arguments, **options):
    """The problem that a call gets."""
    try:
        call(*arguments, **options)
    except ApiException as error:
        assert error.headers["X-Request-Id"] == error.data.request_id, error
        return error.data
    raise AssertionError("not refused")


def wait(progress, session, *statuses):
    """Polls until the session has one of the statuses, with the ETag of the last answer."""
    tag = None
    while True:
        try:
            answer = progress.get_status_with_http_info(session, if_none_match=tag)
            tag = answer.headers["ETag"]
            if answer.data.status in statuses:
                return answer.data
        except ApiException as error:
            # The client takes every status below 200 and from 300 on for an error.
            if error.status != 304:
                raise
        time.sleep(0.3)


def main():
    anyone = SigningInApi(ApiClient(Configuration(host=URL)))
    tokens = anyone.sign_in(Credentials(email="therapist@demo.test", password=password()))
    renewed = anyone.refresh(refresh_request=RefreshRequest(refresh_token=tokens.refresh_token))
    client = ApiClient(Configuration(host=URL, access_token=renewed.access_token))
    signing_in, people, sessions, progress = SigningInApi(client), PeopleApi(client), SessionsApi(client), ProgressApi(client)
    assert signing_in.who_am_i() == tokens.user
    assert any(item.is_current for item in signing_in.list_own_sign_ins().items)
    patient = people.list_patients().items[0].id
    say("signed in")

    with open(os.path.join(FOLDER, "demo-recording.ogg"), "rb") as file:
        recording = file.read()
    chosen = uuid.uuid4()
    session = sessions.upload(patient, session_id=chosen, language="en", file=("a.ogg", recording))
    assert session.id == chosen and session.language == "en", session
    again = sessions.upload_with_http_info(patient, session_id=chosen, file=("a.ogg", recording))
    assert again.status_code == 200 and again.data.id == chosen, again
    end = wait(progress, chosen, "processed", "failed")
    assert end.status == "processed" and end.progress == 100, end
    assert progress.list_transitions(chosen).items[0].status in ("uploading", "pending")
    transcript = sessions.get_transcript(chosen)
    assert transcript.is_final and len(transcript.segments) == end.segments > 0, transcript
    subtitles = sessions.get_transcript_without_preload_content(
        chosen, format=TranscriptFormat.SRT, _headers={"Accept": "application/x-subrip"})
    assert b" --> " in subtitles.data, subtitles.data
    assert sessions.get_notes(chosen)["summary"]
    assert sessions.get_recording(chosen) == recording
    stream = progress.watch_session(chosen)
    assert "event: complete\n" in stream, stream
    assert progress.watch_session_with_http_info(chosen, last_event_id=str(end.version)).status_code == 204
    (data,) = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: ")]
    event = StreamEvent.from_json(f'{{"event": "complete", "id": "{end.version}", "data": {data}}}')
    assert event.actual_instance.data == end, event
    assert progress.ticket_for_session(chosen).expires_in == 30
    assert chosen in [item.id for item in sessions.list_sessions().items]
    say("uploaded, watched to the end, and read the results")

    second = sessions.upload(patient, file=("b.ogg", recording)).id
    assert progress.cancel_session(second).status == "failed"
    assert refusal(progress.cancel_session, second).type == "/problems/conflict"
    assert progress.retry_session(second).attempt == 2
    progress.cancel_session(second)
    for removed in (second, chosen):
        sessions.delete_session(removed)
        assert refusal(sessions.get_session, removed).status == 404
    say("cancelled, retried and deleted")

    resume(sessions, patient)
    # The client refuses a limit of 1000 by the description. A cursor has no form that it knows.
    invalid = refusal(sessions.list_sessions, cursor="no cursor")
    assert invalid.status == 422 and invalid.errors[0].var_field == "cursor", invalid
    signing_in.sign_out()
    assert refusal(signing_in.who_am_i).status == 401
    say("signed out")


def resume(sessions, patient):
    """An upload by tus in two pieces, and one that is ended."""
    content = wave(200_000)
    metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in [
        ("filename", "Sitzung.wav"), ("filetype", "audio/wav"), ("patient_id", str(patient))])

    def create():
        answer = sessions.create_upload_with_http_info("1.0.0", len(content), metadata, body=b"")
        assert answer.status_code == 201, answer
        return uuid.UUID(answer.headers["Location"].rsplit("/", 1)[1])

    begun = create()
    first = sessions.continue_upload_with_http_info(begun, "1.0.0", 0, body=content[:150_000])
    assert first.status_code == 204 and first.headers["Upload-Offset"] == "150000", first
    assert sessions.upload_offset_with_http_info(begun, "1.0.0").headers["Upload-Offset"] == "150000"
    last = sessions.continue_upload_with_http_info(begun, "1.0.0", 150_000, body=content[150_000:])
    session = uuid.UUID(last.headers["Content-Location"].rsplit("/", 1)[1])
    assert sessions.get_session(session).bytes == len(content)
    sessions.delete_session(session)
    sessions.end_upload(create(), "1.0.0")
    say("uploaded in pieces")


main()
