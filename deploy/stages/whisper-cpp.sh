#!/bin/sh
# A transcription stage around whisper-cli of whisper.cpp, for /bin/sh with awk, sed, iconv and ffmpeg.
#
# Set it up in five minutes:
#   1. git clone https://github.com/ggml-org/whisper.cpp /opt/whisper.cpp
#      cmake -S /opt/whisper.cpp -B /opt/whisper.cpp/build
#      cmake --build /opt/whisper.cpp/build --config Release -t whisper-cli
#      sh /opt/whisper.cpp/models/download-ggml-model.sh small
#   2. apt-get install ffmpeg
#      install -D -m 755 whisper-cpp.sh /opt/stages/whisper-cpp.sh
#   3. Start the worker with these variables:
#      PIPELINE_TRANSCRIBE_COMMAND=/opt/stages/whisper-cpp.sh
#      WHISPER_CLI=/opt/whisper.cpp/build/bin/whisper-cli
#      WHISPER_MODEL=/opt/whisper.cpp/models/ggml-small.bin
#      PIPELINE_STAGE_ENV=WHISPER_CLI,WHISPER_MODEL
#   4. Try it by hand: TMPDIR=$(mktemp -d) WHISPER_CLI=/opt/whisper.cpp/build/bin/whisper-cli /opt/stages/whisper-cpp.sh recording.mp3
#
# More variables: WHISPER_THREADS (4), WHISPER_LANGUAGE for sessions without a language (auto). Name them in PIPELINE_STAGE_ENV, too.
# A model for English only (ggml-*.en.bin) ignores the language.
set -u

whisper=${WHISPER_CLI:-whisper-cli}
model=${WHISPER_MODEL:-/opt/whisper.cpp/models/ggml-small.bin}
# whisper-cli knows languages by two or three letters: "de" for "de-AT".
language=${TB_LANGUAGE:-${WHISPER_LANGUAGE:-auto}}
language=${language%%-*}

# Exit status 75: the installation is at fault. The session waits until an operator has fixed it.
unavailable() { printf '%s\n' "$1" >&2; exit 75; }
# People who watch the session see these words.
refuse() { printf '{"error": "%s"}\n' "$1"; exit 1; }
# A signal ended a program, such as SIGKILL when memory ran out. This stage ends itself by the same signal: the worker then tries
# the session again. The argument is the exit status that the shell gives such a program.
end_by_signal() { kill -$(($1 - 128)) $$; exit "$1"; }

for program in "$whisper" ffmpeg; do
    command -v "$program" >/dev/null || unavailable "$program is not installed"
done
[ -r "$model" ] || unavailable "the model $model cannot be read"
[ -d "${TMPDIR:-}" ] || unavailable "TMPDIR names no folder for the audio"

printf '{"progress": 0, "message": "Reading the recording"}\n'
# A variable holds the messages, because a file for them would need room, too.
messages=$(ffmpeg -nostdin -v error -i "$1" -ac 1 -ar 16000 -c:a pcm_s16le "$TMPDIR/audio.wav" 2>&1 </dev/null)
status=$?
[ -z "$messages" ] || printf '%s\n' "$messages" >&2
case $status in
12[89] | 1[3-5]? | 16[0-4]) end_by_signal "$status" ;;
esac
# ffmpeg may end with 0 although it could not write all of the audio.
case $messages in
*"No space left on device"* | *"Disk quota exceeded"*) unavailable "there is no room for the audio in $TMPDIR" ;;
esac
[ "$status" = 0 ] || refuse "The recording could not be read as audio."

# The seconds of a time such as 00:01:02.500. The leading 1 keeps 08 from being read as octal.
seconds() {
    hours=${1%%:*} rest=${1#*:}
    minutes=${rest%%:*} rest=${rest#*:}
    whole=${rest%%.*}
    printf '%d.%s' $(((1$hours - 100) * 3600 + (1$minutes - 100) * 60 + 1$whole - 100)) "${rest#*.}"
}

# A JSON string of a text in UTF-8.
quoted() { printf '"%s"' "$(printf '%s' "$1" | iconv -c -f UTF-8 -t UTF-8 | tr '\001-\037' ' ' | sed 's/[\\"]/\\&/g')"; }

# whisper-cli prints each segment when it knows it, and its progress among other messages:
#   [00:00:00.000 --> 00:00:02.500]   Good morning.
#   whisper_print_progress_callback: progress =  35%
transcribe() {
    {
        "$whisper" -m "$model" -l "$1" -t "${WHISPER_THREADS:-4}" -pp -oj -of "$TMPDIR/transcript" \
            -f "$TMPDIR/audio.wav" 2>&1 </dev/null
        echo $? >"$TMPDIR/status"
    } | while IFS= read -r line; do
        case $line in
        *"progress ="*%)
            percent=${line##*=}
            percent=${percent%\%}
            printf '{"progress": %d, "message": "Transcribing"}\n' "$((percent))"
            ;;
        "["*:*:*.*" --> "*:*:*.*"]"*)
            times=${line%%"]"*}
            text=${line#*"]"}
            text=${text#"${text%%[! ]*}"}
            [ -n "$text" ] || continue
            start=${times%% *}
            printf '{"segment": {"start": %s, "end": %s, "text": %s}}\n' \
                "$(seconds "${start#"["}")" "$(seconds "${times##* }")" "$(quoted "$text")"
            ;;
        # Administrators see the end of these lines when the stage fails.
        *) printf '%s\n' "$line" >&2 ;;
        esac
    done
}

transcribe "$language"
# For an unknown language or argument, whisper-cli exits with 0 and writes no file.
[ -f "$TMPDIR/transcript.json" ] || [ "$(cat "$TMPDIR/status")" != 0 ] || [ "$language" = auto ] || transcribe auto

status=$(cat "$TMPDIR/status")
case $status in
0) ;;
"") unavailable "there is no room for a file in $TMPDIR" ;;
3) unavailable "whisper-cli cannot load the model $model" ;;
12[89] | 1[3-5]? | 16[0-4]) end_by_signal "$status" ;;
*) refuse "The recording could not be transcribed." ;;
esac
[ -f "$TMPDIR/transcript.json" ] || unavailable "whisper-cli wrote no transcript"

# The file has one member on each line. Its strings are JSON, and awk copies them unchanged.
iconv -c -f UTF-8 -t UTF-8 "$TMPDIR/transcript.json" | awk '
    function number(line) { gsub(/[^0-9]/, "", line); return line / 1000 }
    /"transcription": \[/ { inside = 1 }
    inside && /"offsets": \{/ { in_offsets = 1 }
    in_offsets && /"from":/ { start = number($0) }
    in_offsets && /"to":/ { end = number($0); in_offsets = 0 }
    inside && /^[ \t]*"text":/ {
        text = $0
        sub(/^[^:]*:[ \t]*" */, "", text)
        sub(/",?[ \t]*$/, "", text)
        gsub(/[\001-\037]/, " ", text)
        if (text == "") next
        if (end < start) end = start
        segments = segments separator sprintf("{\"start\": %.3f, \"end\": %.3f, \"text\": \"%s\"}", start, end, text)
        words = words (separator == "" ? "" : " ") text
        separator = ", "
    }
    END {
        if (separator == "") {
            print "{\"error\": \"No speech was found in the recording.\"}"
            exit 1
        }
        print "{\"result\": {\"text\": \"" words "\", \"segments\": [" segments "]}}"
    }'
