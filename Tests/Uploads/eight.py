"""Eight uploads of 500 MB at once, half of them cut and resumed five times: all whole by SHA-256, memory +20 MB at most."""
import random
import sys
import threading
import time

from servers import Link, Server, Upload, sign_in

MEGABYTES = int(sys.argv[1]) if len(sys.argv) > 1 else 500
LIMIT = 20 << 20


def main():
    server = Server()
    token = sign_in(server)
    # The first upload makes the server allocate what it keeps.
    for _ in range(2):
        warm = Upload(server, token, 20_000_000)
        warm.uploader().upload()
        warm.check()
    uploads = [Upload(server, token, MEGABYTES * 1_000_000 + index) for index in range(8)]
    before, highest, done = server.memory(), 0, threading.Event()

    def watch():
        nonlocal highest
        while not done.wait(0.1):
            highest = max(highest, server.memory())

    errors = []

    def run(index, upload):
        try:
            link = None
            if index % 2:
                size = MEGABYTES * 1_000_000
                link = Link(server, [random.randrange(size // 10, size // 6) for _ in range(5)])
            upload.uploader(link.url if link else None).upload()
            if link:
                assert not link.cuts, "the link was cut too seldom"
        except Exception as error:
            errors.append((index, repr(error)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(uploads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    done.set()
    watcher.join()
    growth = highest - before
    print(f"8 uploads of {MEGABYTES} MB in {seconds:.0f} s; memory grew from {before >> 20} MiB by {growth / (1 << 20):.1f} MiB")
    assert not errors, errors
    for upload in uploads:
        upload.check()
    server.stop()
    assert growth <= LIMIT, f"memory grew by {growth} bytes, and may by {LIMIT}"


main()
