#!/usr/bin/python3
"""Runs an example in Python of docs/clients.md against a server.

    snippets.py DOCUMENT NAME BASE_URL EMAIL PASSWORD SESSION

Somebody else processes the session. Exits with 1 if the example does not do what its page says.
"""

import asyncio
import contextlib
import io
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs/clients"))


def main():
    document, name, base_url, email, password, session = sys.argv[1:]
    text = re.search(rf"^```python {re.escape(name)}\n(.*?)^```", Path(document).read_text(encoding="utf-8"), re.M | re.S)[1]
    names = {}
    exec(compile(text.replace("https://bridge.example.org", base_url), name, "exec"), names)
    if name == "correct.py":
        from therapybridge import TherapyBridge

        with TherapyBridge(base_url) as bridge:
            bridge.sign_in(email, password)
            names["name_speaker"](bridge, session, 1, "Python")
        return
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        if name == "bar.py":
            names["show_progress"](email, password, session)
        else:
            asyncio.run(names["follow"](email, password, session))
    said = output.getvalue()
    wanted = f"\r[{'#' * 50}] 100 %\n" if name == "bar.py" else "processed 100\nended\n"
    if not said.endswith(wanted):
        sys.exit(f"{name} ends with {said[-100:]!r}")


if __name__ == "__main__":
    main()
