"""Follows one stream with one library: follow.py NAME URL TOKEN [LAST-EVENT-ID]

Prints one JSON object a line: {"opened": N} when this program opens the stream, and {"event", "id", "data"} for what the
library hands on. After a broken connection it opens the stream again with the last id, as a user of the library has to
when the library does not. With a LAST-EVENT-ID it opens the stream only once.
"""
import json
import os
import sys
import time

import libraries

# Some libraries print.
output = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(**members):
    print(json.dumps(members), file=output, flush=True)


def follow(library, url, token, last, once):
    for count in range(1, 10):
        say(opened=count)
        try:
            for event, event_id, data in library(url, token, last):
                say(event=event, id=event_id, data=data)
                # A library without ids leaves the version of the progress object.
                last = event_id or (str(json.loads(data)["version"]) if data else last)
                if data and json.loads(data)["status"] in ("processed", "failed"):
                    return
        except libraries.GIVEN_UP:
            raise
        except Exception as error:
            if once:
                raise
            say(broken=repr(error))
        if once:
            return
        time.sleep(0.2)
    raise SystemExit("the connection broke too often")


if __name__ == "__main__":
    name, url, token = sys.argv[1:4]
    last = sys.argv[4] if len(sys.argv) > 4 else None
    try:
        follow(libraries.ALL[name], url, token, last, once=last is not None)
    finally:
        output.flush()
    # Threads of a library may still wait for bytes.
    os._exit(0)
