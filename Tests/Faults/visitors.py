"""People who upload recordings and stay signed in while servers come and go."""
import asyncio
import base64
import hashlib
import json
import random
import struct
import uuid

from installation import PASSWORD
from web import Unanswered, request

# The bytes of a recording, and of each piece that a client writes at once, with the pause between two pieces.
SIZE, PIECE, PAUSE = 4 << 20, 128 << 10, 0.25


def recording():
    """A WAV file of noise, which no other recording equals."""
    samples = random.randbytes(SIZE - 44)
    return (b"RIFF" + struct.pack("<I", SIZE - 8) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
            + b"data" + struct.pack("<I", SIZE - 44) + samples)


class Upload:
    """One recording of the therapist. Each way repeats what failed, as a client does, until the server has stored it."""

    def __init__(self, installation):
        self.installation, self.content = installation, recording()
        self.session, self.failures = str(uuid.uuid4()), 0
        self.token = installation.tokens["therapist"]
        self.patient = installation.patients[0]

    async def by_form(self):
        boundary = uuid.uuid4().hex
        fields = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in (("patient_id", self.patient), ("session_id", self.session)))
        begin = f'{fields}--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'.encode()
        body = begin + self.content + f"\r\n--{boundary}--\r\n".encode()
        while True:
            status = await self.send_slowly(body, boundary)
            if status in (200, 201):
                return
            if status is not None and status < 500 and status != 429:
                raise SystemExit(f"an upload by form got {status}")
            self.failures += 1
            await asyncio.sleep(0.5)

    async def send_slowly(self, body, boundary):
        head = (f"POST /api/sessions/upload HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.token}\r\n"
                f"Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {len(body)}\r\n\r\n")
        writer = None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.installation.port)
            writer.write(head.encode())
            for start in range(0, len(body), PIECE):
                writer.write(body[start:start + PIECE])
                await writer.drain()
                await asyncio.sleep(PAUSE)
            async with asyncio.timeout(30):
                return int((await reader.readline()).split(b" ")[1])
        except (OSError, TimeoutError, IndexError, ValueError):
            return None
        finally:
            if writer:
                writer.close()

    async def by_pieces(self):
        """Uploads by the tus protocol, each piece in a request of its own, which may reach another server."""
        plain = {"filename": "a.wav", "patient_id": self.patient, "session_id": self.session}
        metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in plain.items())
        place = None
        offset = 0
        while True:
            try:
                if place is None:
                    _, fields, _ = await self.tus(
                        "POST", "/api/uploads", 201, **{"Upload-Length": str(SIZE), "Upload-Metadata": metadata})
                    place = "/api/uploads/" + fields["location"].rsplit("/", 1)[1]
                elif offset is None:
                    _, fields, _ = await self.tus("HEAD", place, 200)
                    offset = int(fields["upload-offset"])
                else:
                    _, fields, _ = await self.tus(
                        "PATCH", place, 204, self.content[offset:offset + PIECE],
                        **{"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"})
                    offset = int(fields["upload-offset"])
                    await asyncio.sleep(PAUSE)
                if offset == SIZE:
                    return
            except Unanswered:
                self.failures += 1
                offset = None
                await asyncio.sleep(0.3)

    async def tus(self, method, path, expected, body=None, **headers):
        answer = await request(
            self.installation.port, method, path, self.token, body, {"Tus-Resumable": "1.0.0", **headers}, limit=15)
        if answer[0] == expected:
            return answer
        # 409: the offset of a piece whose answer was lost; 423: the request that broke off still holds the upload.
        if answer[0] >= 500 or answer[0] in (409, 423):
            raise Unanswered(str(answer[0]))
        raise SystemExit(f"{method} of an upload got {answer[0]}: {answer[2][:300]}")

    async def is_stored(self):
        """Whether a server hands out the same bytes."""
        try:
            status, _, data = await request(
                self.installation.port, "GET", f"/api/sessions/{self.session}/recording", self.token, limit=30)
        except Unanswered:
            return False
        return status == 200 and hashlib.sha256(data).digest() == hashlib.sha256(self.content).digest()

    async def remove(self):
        """Deletes the session: a soak would fill the disk."""
        await request(self.installation.port, "DELETE", f"/api/sessions/{self.session}", self.token)


class SignedIn:
    """A person who signs in once, and then lives on refreshed tokens."""

    def __init__(self, installation):
        self.installation, self.refreshes, self.repeats, self.refusals = installation, 0, 0, []

    async def run(self):
        pair = await self.post("/api/auth/login", {"email": "therapist@faults.test", "password": PASSWORD})
        while True:
            pair = await self.post("/api/auth/refresh", {"refresh_token": pair["refresh_token"]})
            self.refreshes += 1
            await self.see(pair["access_token"])
            await asyncio.sleep(0.3)

    async def post(self, path, body):
        """Repeats a request without an answer, with the same token."""
        while True:
            try:
                status, _, data = await request(self.installation.port, "POST", path, body=body)
                if status == 200:
                    return json.loads(data)
                if status < 500:
                    self.refusals.append(f"{path}: {status}")
            except Unanswered:
                pass
            self.repeats += 1
            await asyncio.sleep(0.2)

    async def see(self, token):
        try:
            status, _, _ = await request(self.installation.port, "GET", "/api/auth/me", token)
        except Unanswered:
            return
        if status in (401, 403):
            self.refusals.append(f"/api/auth/me: {status}")
