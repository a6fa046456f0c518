#!/usr/bin/env python3
"""A transcription stage for any OpenAI-compatible endpoint: OpenAI, Groq, speaches, vLLM, LocalAI, whisper.cpp's server.

The endpoint has to answer POST …/audio/transcriptions with response_format=verbose_json. The stage needs Python 3.8 and ffmpeg.

Set it up in five minutes:
  1. apt-get install python3 ffmpeg
     install -D -m 755 openai_transcribe.py /opt/stages/openai_transcribe.py
  2. Start the worker with these variables:
     PIPELINE_TRANSCRIBE_COMMAND=/opt/stages/openai_transcribe.py
     OPENAI_API_KEY=…
     OPENAI_BASE_URL=https://api.openai.com/v1
     TRANSCRIPTION_MODEL=whisper-1
     PIPELINE_STAGE_ENV=OPENAI_API_KEY,OPENAI_BASE_URL,TRANSCRIPTION_MODEL
  3. Try it by hand: OPENAI_API_KEY=… /opt/stages/openai_transcribe.py recording.mp3

Pass the key in the environment, and not in the command: every user of the host can read command lines.
More variables: HTTPS_PROXY, PIECE_SECONDS (600). Name them in PIPELINE_STAGE_ENV, too.
Recordings leave your host. Find out whether your patients and your law allow that.
"""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

URL = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1").rstrip("/") + "/audio/transcriptions"
MODEL = os.environ.get("TRANSCRIPTION_MODEL", "whisper-1")
# OpenAI accepts 25 MB. Ten minutes have 2.4 MB, and the stage prints its progress after each piece.
PIECE_SECONDS = int(os.environ.get("PIECE_SECONDS", "600"))
# The service accepts codes of two letters: "de" for "de-AT". The service finds out every other language itself.
LANGUAGE = os.environ.get("TB_LANGUAGE", "").split("-")[0].lower()
if len(LANGUAGE) != 2:
    LANGUAGE = ""


def say(**members):
    print(json.dumps(members, allow_nan=False), flush=True)


def unavailable(reason):
    """The service or the installation is at fault: the session waits until an operator has fixed it."""
    print(reason, file=sys.stderr)
    sys.exit(75)


def refuse(words):
    """The recording is at fault: people who watch the session see the words."""
    say(error=words)
    sys.exit(1)


def end_by(number):
    """A signal ended ffmpeg, such as SIGKILL when memory ran out: ends this stage by it, and the worker tries again."""
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)


def send(request):
    """The answer as JSON; None if the service refuses the request. Tries again while the service is busy."""
    pause = 1
    for attempt in range(5):
        if attempt:
            time.sleep(min(pause, 60))
        try:
            with urllib.request.urlopen(request, timeout=900) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            print(f"{error.code} {error.read(2000).decode(errors='replace')}", file=sys.stderr)
            if error.code in (400, 413, 415, 422):
                return None
            if error.code not in (408, 409, 429) and error.code < 500:
                unavailable("the service refuses the request: look at the key, the URL and the model")
            try:
                pause = float(error.headers["Retry-After"])
            except (TypeError, ValueError):
                pause = 2 ** attempt
        except (OSError, ValueError) as error:  # no connection, or an answer that is no JSON
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            pause = 2 ** attempt
    unavailable("the service does not answer")


def transcribe(path, language):
    boundary = uuid.uuid4().hex
    fields = [("model", MODEL), ("response_format", "verbose_json"), ("timestamp_granularities[]", "segment")]
    if language:
        fields.append(("language", language))
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields)
    with open(path, "rb") as file:
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="audio.mp3"\r\n'
            "Content-Type: audio/mpeg\r\n\r\n").encode() + file.read() + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Accept": "application/json"}
    if os.environ.get("OPENAI_API_KEY"):
        headers["Authorization"] = "Bearer " + os.environ["OPENAI_API_KEY"]
    return send(urllib.request.Request(URL, body, headers))


say(progress=0, message="Reading the recording")
try:
    work = tempfile.TemporaryDirectory()
except OSError as error:
    unavailable(f"there is no temporary folder: {error}")
with work as folder:
    try:
        made = subprocess.run(
            ["ffmpeg", "-nostdin", "-v", "error", "-i", sys.argv[-1], "-vn", "-ac", "1", "-ar", "16000", "-b:a", "32k",
             "-f", "segment", "-segment_time", str(PIECE_SECONDS), f"{folder}/%05d.mp3"], stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
    except OSError as error:
        unavailable(f"ffmpeg cannot be started: {error}")
    messages = made.stderr.decode(errors="replace")
    sys.stderr.write(messages)
    if made.returncode < 0:
        shutil.rmtree(folder, ignore_errors=True)
        end_by(-made.returncode)
    # ffmpeg may end with 0 although it could not write all of the audio.
    if "No space left on device" in messages or "Disk quota exceeded" in messages:
        unavailable(f"there is no room for the audio in {folder}")
    pieces = sorted(glob.glob(f"{folder}/*.mp3"))
    if made.returncode != 0 or not pieces:
        refuse("The recording could not be read as audio.")

    segments = []
    offset = 0.0
    for number, piece in enumerate(pieces):
        say(progress=100 * number // len(pieces), message="Transcribing")
        answer = transcribe(piece, LANGUAGE)
        if answer is None and LANGUAGE:  # the service may not know the language of the session
            answer = transcribe(piece, "")
        if answer is None:
            refuse("The transcription service refused the recording.")
        found = answer.get("segments") or []
        if not found and answer.get("text", "").strip():
            # Some models tell no times.
            found = [{"start": 0, "end": answer.get("duration") or 0, "text": answer["text"]}]
        for segment in found:
            text = segment["text"].strip()
            if not text:
                continue
            start = max(offset + float(segment["start"]), segments[-1]["start"] if segments else 0.0)
            end = max(offset + float(segment["end"]), start)
            segments.append({"start": round(start, 3), "end": round(end, 3), "text": text})
            say(segment=segments[-1])
        offset += PIECE_SECONDS

if not segments:
    refuse("No speech was found in the recording.")
say(result={"text": " ".join(segment["text"] for segment in segments), "segments": segments})
