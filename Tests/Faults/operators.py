"""What operators do, and what happens to disks and migrations. Each is a row of docs/reliability.md."""
import asyncio
import json
import os
import random
import signal
import subprocess
import time

from faults import demand, fault, listens_again
from installation import DRAIN, happens
from running import PATIENCE, SLOWNESS
from visitors import SignedIn, Upload
from web import Unanswered, request


@fault("rolling restart: each of the three servers gets SIGTERM and starts again, one after the other",
       "each server ends with status 0; uploads by form and by pieces are stored; nobody is signed out")
async def rolling_restart(world, cohort):
    uploads = [Upload(world) for _ in range(4)]
    person = SignedIn(world)
    tasks = [asyncio.create_task(upload.by_form() if number % 2 else upload.by_pieces()) for number, upload in enumerate(uploads)]
    stays = asyncio.create_task(person.run())
    try:
        await cohort.load(1)
        longest = 0
        for server in world.servers:
            begin = time.monotonic()
            server.process.terminate()
            status = await server.ends()
            longest = max(longest, time.monotonic() - begin)
            demand(status == 0, f"{server.name} ended with {status}")
            await server.start()
            await cohort.load(0.5)
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        for upload in uploads:
            await happens("an upload can be fetched", upload.is_stored)
            await upload.remove()
    finally:
        for task in (stays, *tasks):
            task.cancel()
        await asyncio.gather(stays, *tasks, return_exceptions=True)
    demand(longest < DRAIN + 3 * SLOWNESS, f"a server took {longest:.1f} s to end")
    demand(person.refreshes > 5 and not person.refusals, f"signed out: {person.refusals}, {person.refreshes} refreshes")
    return (f"{len(uploads)} uploads are whole, requests that broke: {sum(upload.failures for upload in uploads)}; "
            f"{person.refreshes} refreshes of a sign-in, none refused; the slowest server ended in {longest:.1f} s")


@fault("`UPLOAD_DIR` disappears for 4 s", "readiness and an upload are 503; streams and reports go on")
async def folder_away(world, cohort):
    away = world.disk / "away"
    os.rename(world.recordings, away)
    try:
        async def none_is_ready():
            return [await server.readiness() for server in world.servers] == [503] * len(world.servers)
        await happens("no server is ready", none_is_ready, 10 * SLOWNESS)
        status = await one_upload(world)
        demand(status == 503, f"an upload without a folder got {status}")
        await cohort.load(3)
    finally:
        os.rename(away, world.recordings)
    seconds = 0
    for server in world.servers:
        seconds += (await happens(f"{server.name} is ready", server.is_ready))[1]
    demand(await one_upload(world) == 201, "an upload fails after the folder is back")
    return f"an upload got {status}; ready {seconds:.1f} s after the folder is back"


@fault("the disk of `UPLOAD_DIR` is full", "an upload gets 507; readiness stays 200; streams and reports go on",
       needs_root=True)
async def disk_full(world, cohort):
    filler = world.disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            pass
    try:
        status = await one_upload(world)
        demand(status == 507, f"an upload got {status}")
        ready = [await server.readiness() for server in world.servers]
        demand(ready == [200] * len(world.servers), f"readiness was {ready}")
        await cohort.load(2)
    finally:
        filler.unlink()
    demand(await one_upload(world) == 201, "an upload fails after there is room again")
    return "the next upload after that is stored"


async def one_upload(world):
    """Uploads one recording in one go, and returns the status, or None without an answer."""
    upload = Upload(world)
    form = (f'--b\r\nContent-Disposition: form-data; name="patient_id"\r\n\r\n{upload.patient}\r\n--b\r\n'
            'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n').encode()
    try:
        status, _, data = await request(
            world.port, "POST", "/api/sessions/upload", upload.token, form + upload.content + b"\r\n--b--\r\n",
            {"Content-Type": "multipart/form-data; boundary=b"}, limit=30)
        if status == 201:
            upload.session = json.loads(data)["id"]
            await upload.remove()
        return status
    except Unanswered:
        return None


@fault("`migrate up` starts three times at once on a fresh database, and one gets SIGKILL; four times",
       "the other two end with status 0; `migrate validate` finds nothing; no server notices")
async def migrations_at_once(world, cohort):
    killed = 0
    for number in range(4):
        name = f"fresh_{time.monotonic_ns()}"
        world.sql(f"CREATE DATABASE {name}", database="postgres")
        settings = {**os.environ, "DATABASE_MIGRATE_URL": world.primary.url(database=name)}
        command = [world.program, "migrate", "up", "--shared-cluster"]
        processes = [subprocess.Popen(command, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(3)]
        await cohort.load(random.uniform(0.05, 0.6))
        victim = random.choice(processes)
        victim.kill()
        for process in processes:
            _, said = await asyncio.to_thread(process.communicate)
            if process is victim:
                killed += process.returncode == -signal.SIGKILL
            else:
                demand(process.returncode == 0, f"migrate up ended with {process.returncode}: {said.decode()[-500:]}")
        check = await asyncio.to_thread(
            subprocess.run, [world.program, "migrate", "validate"], env=settings, capture_output=True, text=True)
        demand(check.returncode == 0, f"migrate validate: {check.stderr[-500:]}")
        world.sql(f"DROP DATABASE {name}", database="postgres")
    demand(killed > 0, "each migration had ended before its kill")
    return f"{killed} of 4 were killed before they ended"


@fault("failover: the primary crashes, and an asynchronous standby that lacks its last commits is promoted",
       "acknowledged reports are lost, as asynchronous replication allows; each stream ends, and its client is then sent what stands",
       loses_commits=True)
async def failover(world, cohort):
    standby, link = await world.add_standby()
    await cohort.load(1)
    # From here on, commits do not reach the standby.
    link.freeze()
    await cohort.load(1.5)
    world.primary.stop(signal.SIGQUIT)
    await link.close()
    begin = time.monotonic()
    await asyncio.to_thread(world.promote, standby)
    since = time.time()
    for server in world.servers:
        await happens(f"{server.name} is ready", server.is_ready)
    await cohort.acknowledges()
    seconds = time.monotonic() - begin
    await listens_again(world.servers, 30)

    # The opening of a stream of all sessions does not list finished ones, and nothing of the old timeline is replayed: the sessions
    # must not end before each client is back.
    async def all_are_back():
        return all((last := watcher.last(session)) and last.at > since for watcher in cohort.watchers for session in cohort.of(watcher))
    await happens("each client is sent what stands", all_are_back)
    return f"reports are acknowledged {seconds:.1f} s after the crash", since
