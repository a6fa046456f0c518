#!/usr/bin/env python3
"""A notes stage for any OpenAI-compatible chat endpoint: OpenAI, Ollama, vLLM, llama.cpp's server, LM Studio.

The endpoint has to answer POST …/chat/completions. The stage needs Python 3.8 and no package.

Set it up in five minutes. With Ollama on the same host, as here, the words of a session stay on the host:
  1. ollama pull llama3.1
     install -D -m 755 openai_notes.py /opt/stages/openai_notes.py
  2. Start the worker with these variables:
     PIPELINE_NOTES_COMMAND=/opt/stages/openai_notes.py
     OPENAI_BASE_URL=http://127.0.0.1:11434/v1
     NOTES_MODEL=llama3.1
     PIPELINE_STAGE_ENV=OPENAI_BASE_URL,NOTES_MODEL
     For a service with a key, add OPENAI_API_KEY=…, and name it in PIPELINE_STAGE_ENV.
  3. Try it by hand: echo '{"text": "I slept badly.", "segments": []}' |
     NOTES_MODEL=llama3.1 OPENAI_BASE_URL=http://127.0.0.1:11434/v1 /opt/stages/openai_notes.py

More variables: NOTES_PROMPT (the instructions to the model), HTTPS_PROXY. Name them in PIPELINE_STAGE_ENV, too.
A model can write wrong notes. A therapist has to read them.
"""
import json
import os
import sys
import time
import urllib.error
import urllib.request

URL = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1").rstrip("/") + "/chat/completions"
MODEL = os.environ.get("NOTES_MODEL", "gpt-4o-mini")
PROMPT = os.environ.get("NOTES_PROMPT") or (
    "You write notes on a therapy session for its therapist, in the language of the transcript. Use only what was said. "
    'Answer with one JSON object: {"summary": string, "topics": [string], "agreements": [string], "risks": [string]}. '
    "Leave a list empty if there is nothing to say.")


def say(**members):
    print(json.dumps(members, allow_nan=False), flush=True)


def unavailable(reason):
    """The service or the installation is at fault: the session waits until an operator has fixed it."""
    print(reason, file=sys.stderr)
    sys.exit(75)


def refuse(words):
    """The session is at fault: people who watch it see the words."""
    say(error=words)
    sys.exit(1)


def send(body):
    """The answer as JSON. Tries again while the service is busy, and without a setting that the model does not have."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if os.environ.get("OPENAI_API_KEY"):
        headers["Authorization"] = "Bearer " + os.environ["OPENAI_API_KEY"]
    pause = 1
    for attempt in range(5):
        if attempt:
            time.sleep(min(pause, 60))
        request = urllib.request.Request(URL, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=900) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            words = error.read(2000).decode(errors="replace")
            print(f"{error.code} {words}", file=sys.stderr)
            if error.code == 400 and body.pop(setting_at_fault(words), None) is not None:
                pause = 0
                continue
            if error.code in (400, 413, 422):
                refuse("The notes service refused the transcript.")
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


def setting_at_fault(words):
    """The member of the request that the service refuses, if the stage can do without it. Some models allow no temperature."""
    try:
        name = json.loads(words)["error"]["param"]
    except (KeyError, TypeError, ValueError):
        return None
    return name if name in ("temperature", "response_format") else None


def lines(transcript):
    for segment in transcript["segments"]:
        minutes, seconds = divmod(int(segment["start"]), 60)
        speaker = segment.get("speaker")
        yield f"[{minutes:02}:{seconds:02}] " + (f"{speaker}: " if speaker else "") + segment["text"]


transcript = json.load(sys.stdin)
text = "\n".join(lines(transcript)) or transcript["text"]
if not text.strip():
    refuse("The transcript has no words.")
say(progress=5, message="Writing notes")
answer = send({
    "model": MODEL, "temperature": 0, "response_format": {"type": "json_object"},
    "messages": [{"role": "system", "content": PROMPT}, {"role": "user", "content": text}]})
try:
    choice = answer["choices"][0]
    if choice.get("finish_reason") == "length":
        refuse("The session is too long for the notes service.")
    content = (choice["message"].get("content") or "").strip()
    # Some models put the object into a block of code.
    notes = json.loads(content[content.index("{"):content.rindex("}") + 1], parse_constant=lambda _: None)
except (KeyError, IndexError, TypeError, ValueError) as error:
    # The answer may quote the session. The kind of the error says enough.
    print(f"the answer is no JSON object: {type(error).__name__}", file=sys.stderr)
    refuse("The notes service gave an answer that could not be understood.")
say(progress=100)
say(result=notes)
