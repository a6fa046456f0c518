"""Resumable uploads with tuspy: whole, in pieces, over lost connections, by two clients at once, over killed servers, at a quota."""
import json
import pathlib
import sys
import threading
import time

from tusclient.exceptions import TusCommunicationError, TusUploadFailed

from servers import Link, Server, Upload, call, leftovers, sign_in

MB = 1 << 20


def documented(first, second, token):
    """The example of docs/uploads.md, with this server, account and recording."""
    text = (pathlib.Path(__file__).parents[2] / "docs/uploads.md").read_text()
    example = text.split("```python\n", 1)[1].split("```", 1)[0]
    upload = Upload(first, token, 6 * MB)
    example = example.replace("https://bridge.example.org", first.url).replace('    "session.m4a"', f"    {upload.path!r}")
    exec(example, {"token": token, "patient": upload.metadata["patient_id"], "session": upload.session})
    upload.check()


def whole(first, second, token):
    for arguments in ({}, {"chunk_size": MB}, {"chunk_size": 300_001, "upload_checksum": True}, {"chunk_size": 70_000}):
        upload = Upload(first, token, 5 * MB + 7)
        upload.uploader(**arguments).upload()
        upload.check()


def cut(first, second, token):
    for cuts in ([200_000, MB, 1_000, 3 * MB], [6 * MB], [MB] * 5):
        upload = Upload(first, token, 8 * MB + 1)
        # A creation whose answer was lost: the next one gets the same upload.
        urls = {upload.uploader().create_url() for _ in range(3)}
        assert len(urls) == 1, urls
        link = Link(first, cuts)
        upload.uploader(link.url, url=link.url + urls.pop()[len(first.url):]).upload()
        link.close()
        upload.check(second)


def another_server(first, second, token):
    """Each piece goes to another server, as a load balancer without affinity does it."""
    upload = Upload(first, token, 6 * MB)
    uploader = upload.uploader(chunk_size=700_000)
    uploader.upload_chunk()
    path = uploader.url[len(first.url):]
    servers = [second, first]
    while uploader.offset < uploader.get_file_size():
        uploader.set_url(servers[0].url + path)
        servers.reverse()
        uploader.upload_chunk()
    upload.check()


def two_clients(first, second, token):
    upload = Upload(first, token, 12 * MB)
    uploader = upload.uploader(chunk_size=MB)
    uploader.upload_chunk()
    path = uploader.url[len(first.url):]
    errors = []

    def run(server):
        try:
            other = upload.uploader(server.url, chunk_size=MB, url=server.url + path)
            other.upload()
        except (TusCommunicationError, TusUploadFailed) as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(server,)) for server in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) < 2, errors
    upload.check()


def killed(first, second, token):
    """kill -9 in the middle: the other server goes on at once, and so does the same one after its start."""
    for goes_on in (second, first):
        upload = Upload(first, token, 40 * MB)
        # The link carries the beginning, and then nothing more: the server is killed meanwhile.
        uploader = upload.uploader(retries=0)
        uploader.set_url(uploader.create_url())
        thread = threading.Thread(target=lambda: attempt(slow(upload, uploader.url, 10 * MB)))
        thread.start()
        time.sleep(4)
        first.kill()
        thread.join()
        if goes_on is first:
            first.start()
        began = time.monotonic()
        path = uploader.url[len(first.url):]
        after = upload.uploader(goes_on.url, retries=0, url=goes_on.url + path)
        kept = after.offset
        assert kept > MB, f"only {kept} bytes were kept"
        after.upload()
        print(f"  continued from byte {kept}, and complete after {time.monotonic() - began:.1f} s")
        upload.check(goes_on)
        if goes_on is second:
            first.start()


def attempt(body):
    try:
        body()
    except OSError:
        pass


def slow(upload, url, count):
    """Sends some bytes of a PATCH over four seconds, and then nothing more."""
    import http.client
    from urllib.parse import urlsplit

    def send():
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        connection.putrequest("PATCH", address.path)
        for name, value in {
            "Authorization": "Bearer " + upload.token, "Tus-Resumable": "1.0.0", "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream", "Content-Length": str(40 * MB),
        }.items():
            connection.putheader(name, value)
        connection.endheaders()
        with open(upload.path, "rb") as file:
            for _ in range(20):
                connection.send(file.read(count // 20))
                time.sleep(0.2)
        connection.getresponse()

    return send


def drained(first, second, token):
    """SIGTERM in the middle: the server keeps what arrived, and the client goes on at the other one."""
    upload = Upload(first, token, 40 * MB)
    uploader = upload.uploader(retries=0)
    uploader.set_url(uploader.create_url())
    thread = threading.Thread(target=lambda: attempt(slow(upload, uploader.url, 10 * MB)))
    thread.start()
    time.sleep(2)
    first.stop()
    thread.join()
    path = uploader.url[len(first.url):]
    after = upload.uploader(second.url, retries=0, url=second.url + path)
    assert after.offset > MB, f"only {after.offset} bytes were kept"
    after.upload()
    upload.check(second)
    first.start()


def ended(first, second, token):
    upload = Upload(first, token, 3 * MB)
    uploader = upload.uploader(chunk_size=MB, retries=0)
    uploader.upload_chunk()
    path = uploader.url[len(first.url):]
    assert call(second, "DELETE", path, token, headers={"Tus-Resumable": "1.0.0"})[0] == 204
    try:
        uploader.upload_chunk()
        raise AssertionError("an ended upload takes bytes")
    except TusUploadFailed as error:
        assert error.status_code == 410, error.status_code
    # The id may be uploaded to again.
    upload.uploader().upload()
    upload.check()


def expired(first, second, token):
    brief = Server(UPLOAD_RESUME_TTL="2")
    upload = Upload(brief, token, 3 * MB)
    uploader = upload.uploader(chunk_size=MB, retries=0)
    uploader.upload_chunk()
    time.sleep(2.5)
    try:
        uploader.upload_chunk()
        raise AssertionError("an expired upload takes bytes")
    except TusUploadFailed as error:
        assert error.status_code == 410, error.status_code
    # The request or the janitor of this server removes the bytes. If it stopped now, another server would do it in ten minutes.
    wait_until_nothing_is_left()
    brief.stop()


def quota(first, second, token):
    """UPLOAD_QUOTA_BYTES: beyond it 429, nothing is lost, and the upload goes on as soon as there is room."""
    narrow = Server(UPLOAD_QUOTA_BYTES=str(6 * MB), UPLOAD_MAX_BYTES=str(4 * MB))
    # An account that has uploaded nothing today.
    token = sign_in(narrow, "patient")
    patient = json.loads(call(narrow, "GET", "/api/auth/me", token)[2])["id"]

    def refused(step):
        try:
            step()
        except TusCommunicationError as error:
            assert error.status_code == 429, error.status_code
            assert b"in 24 hours" in error.response_content, error.response_content
        else:
            raise AssertionError("an upload goes beyond the quota")

    # A creation without bytes takes nothing of the quota.
    whole, upload, late = (Upload(narrow, token, 4 * MB, patient=patient) for _ in range(3))
    uploader = upload.uploader(chunk_size=MB, retries=0)
    uploader.upload_chunk()
    whole.uploader().upload()
    whole.check()
    # The quota must have room for the whole recording.
    refused(late.uploader(retries=0).upload)
    uploader.upload_chunk()
    refused(uploader.upload_chunk)
    path = uploader.url[len(narrow.url):]
    status, headers, body = call(narrow, "HEAD", path, token, headers={"Tus-Resumable": "1.0.0"})
    assert (status, headers["Upload-Offset"]) == (200, str(2 * MB)), (status, headers["Upload-Offset"])
    with open(upload.path, "rb") as file:
        piece = file.read()[2 * MB:3 * MB]
    status, headers, body = call(
        narrow, "PATCH", path, token, piece, {
            "Tus-Resumable": "1.0.0", "Upload-Offset": str(2 * MB), "Content-Type": "application/offset+octet-stream"})
    assert status == 429 and 1 <= int(headers["Retry-After"]) <= 86_400, (status, headers["Retry-After"])
    narrow.stop()
    # An operator gives the account more room. The client goes on where it was.
    wider = Server(UPLOAD_QUOTA_BYTES=str(8 * MB), UPLOAD_MAX_BYTES=str(4 * MB))
    after = upload.uploader(wider.url, retries=0, url=wider.url + path)
    assert after.offset == 2 * MB, after.offset
    after.upload()
    upload.check(wider)
    refused(late.uploader(wider.url, retries=0).upload)
    wider.stop()


def wait_until_nothing_is_left():
    deadline = time.monotonic() + 60
    while left := leftovers():
        assert time.monotonic() < deadline, f"the parts of unfinished uploads are left: {left}"
        time.sleep(0.2)


def main():
    first, second = Server(), Server()
    token = sign_in(first)
    try:
        for scenario in (documented, whole, cut, another_server, two_clients, killed, drained, ended, expired, quota):
            if len(sys.argv) > 1 and scenario.__name__ not in sys.argv[1:]:
                continue
            print(scenario.__name__, flush=True)
            scenario(first, second, token)
        # Complete, ended and expired uploads leave nothing.
        wait_until_nothing_is_left()
    finally:
        first.stop()
        second.stop()


main()
