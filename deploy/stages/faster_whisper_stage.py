#!/usr/bin/env python3
"""A transcription stage with faster-whisper.

Set it up in five minutes:
  1. apt-get install python3-venv
     python3 -m venv /opt/stages/venv
     /opt/stages/venv/bin/pip install faster-whisper
     install -m 755 faster_whisper_stage.py /opt/stages/
  2. Fetch the model once, as a user who may write to /opt/stages:
     HF_HOME=/opt/stages/models /opt/stages/venv/bin/python -c \
         'from faster_whisper import download_model; download_model("small")'
     chmod -R a+rX /opt/stages
  3. Start the worker with these variables:
     PIPELINE_TRANSCRIBE_COMMAND='/opt/stages/venv/bin/python /opt/stages/faster_whisper_stage.py'
     HF_HOME=/opt/stages/models
     HF_HUB_OFFLINE=1
     WHISPER_MODEL=small
     PIPELINE_STAGE_ENV=HF_HOME,HF_HUB_OFFLINE,WHISPER_MODEL
     PIPELINE_STAGE_NETWORK=off
  4. Try it by hand: HF_HOME=/opt/stages/models /opt/stages/venv/bin/python /opt/stages/faster_whisper_stage.py recording.mp3

More variables: WHISPER_DEVICE (auto), WHISPER_COMPUTE_TYPE (default), WHISPER_LANGUAGE for sessions without a language.
Name them in PIPELINE_STAGE_ENV, too.
"""
import json
import os
import sys


def say(**members):
    print(json.dumps(members, allow_nan=False), flush=True)


def unavailable(reason):
    """The installation is at fault: the session waits until an operator has fixed it."""
    print(reason, file=sys.stderr)
    sys.exit(75)


def refuse(words):
    """The recording is at fault: people who watch the session see the words."""
    say(error=words)
    sys.exit(1)


def is_of_machine(error):
    """True if memory or the graphics processor is at fault. PyAV's errors, of any kind, are about the recording."""
    if type(error).__module__.split(".")[0] == "av":
        return False
    words = str(error).lower()
    return isinstance(error, MemoryError) or isinstance(error, RuntimeError) and any(
        name in words for name in ("cuda", "cublas", "cudnn", "out of memory"))


def language():
    """A code such as "de", which is what the model knows of "de-AT"; None lets the model find out."""
    return (os.environ.get("TB_LANGUAGE") or os.environ.get("WHISPER_LANGUAGE") or "").split("-")[0].lower() or None


say(progress=0, message="Loading the model")
try:
    from faster_whisper import WhisperModel

    model = WhisperModel(
        os.environ.get("WHISPER_MODEL", "small"), device=os.environ.get("WHISPER_DEVICE", "auto"),
        compute_type=os.environ.get("WHISPER_COMPUTE_TYPE", "default"))
except Exception as error:  # a package, the model or the graphics processor is missing
    unavailable(f"the model cannot be loaded: {type(error).__name__}: {error}")

say(progress=1, message="Transcribing")
found = None
for code in dict.fromkeys([language(), None]):  # the model may not know the language of the session
    try:
        found, info = model.transcribe(sys.argv[-1], language=code, vad_filter=True)
        break
    except Exception as error:  # PyAV has an error for each way in which a file can be broken
        if is_of_machine(error):
            unavailable(f"the model cannot work: {type(error).__name__}: {error}")
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
if found is None:
    refuse("The recording could not be read as audio.")

segments = []
try:
    for segment in found:  # the work is done here, piece by piece
        text = segment.text.strip()
        if not text:
            continue
        start = max(segment.start, segments[-1]["start"] if segments else 0.0)
        segments.append({"start": round(start, 3), "end": round(max(segment.end, start), 3), "text": text})
        say(segment=segments[-1], progress=min(99, int(100 * segment.end / info.duration)) if info.duration else 1)
except Exception as error:
    if is_of_machine(error):
        unavailable(f"the model cannot work: {type(error).__name__}: {error}")
    raise

if not segments:
    refuse("No speech was found in the recording.")
say(result={
    "text": " ".join(segment["text"] for segment in segments), "segments": segments,
    "language": info.language, "duration_seconds": round(info.duration, 3)})
