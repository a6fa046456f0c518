"""What schemathesis has to know about the API: its media types, and a token that lasts."""
import os
import subprocess

import schemathesis

# The body of an upload by tus: bytes of any kind.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

# The account of the run, or None: then each request goes without a token.
EMAIL = os.environ.get("FUZZ_EMAIL")
token = None


def new_token():
    """A token of a new sign-in. It needs no password: the run may have changed it."""
    command = [os.environ["TB_PROGRAM"], "token", "--email", EMAIL, "--ttl", "86400"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@schemathesis.hook
def before_call(context, case, **kwargs):
    global token
    if EMAIL:
        token = token or new_token()
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}


@schemathesis.hook
def after_call(context, case, response):
    # An administrator may end the own sign-ins, too. All later requests would be refused, and the run would try nothing.
    # The routes below /api/auth refuse refresh tokens and passwords with the same status.
    global token
    if response.status_code == 401 and not case.path.startswith("/api/auth/"):
        token = None
