"""The bundled worker, that of HTTP and that of SQL share a queue, and are killed or stopped now and then."""
import collections
import signal
import time

from checks import file_faults, session_faults
from installation import LEASE
from processes import Worker, wait_for_end_of_orphans
from running import PATIENCE

# Seconds between two blows, and seconds that a stopped worker stands still.
PAUSES = (0.1, 0.6)
STANDSTILL = (0.5, 2.5)


def run(installation, chance, sessions):
    installation.upload(sessions)
    workers = [Worker(installation, kind, f"{kind}-{number}") for kind in ("bundled", "http", "sql") for number in (1, 2)]
    for worker in workers:
        worker.start()
    blows, faults, asleep = collections.Counter(), [], []
    last_progress, least = time.monotonic(), sessions
    while left := installation.unfinished():
        if left < least:
            last_progress, least = time.monotonic(), left
        if time.monotonic() - last_progress > LEASE + PATIENCE:
            faults.append(f"{left} sessions are never processed")
            break
        time.sleep(chance.uniform(*PAUSES))
        asleep = wake(asleep)
        revive(installation, workers, blows, faults)
        worker = chance.choice([worker for worker in workers if worker not in [other for other, _ in asleep]])
        if chance.random() < 0.5:
            worker.kill()
            blows[f"SIGKILL of {worker.kind}"] += 1
            if chance.random() < 0.9:
                installation.lapse(worker.lease_name)
            worker.start()
        else:
            worker.signal(signal.SIGSTOP)
            blows[f"SIGSTOP of {worker.kind}"] += 1
            installation.lapse(worker.lease_name)
            asleep.append((worker, time.monotonic() + chance.uniform(*STANDSTILL)))
    wake(asleep, at_once=True)
    faults += end(installation, workers)
    report(installation, blows)
    return faults + session_faults(installation) + file_faults(installation)


def wake(asleep, at_once=False):
    """Lets those workers go on whose time has come, and returns the others."""
    for worker, until in asleep:
        if at_once or until <= time.monotonic():
            worker.signal(signal.SIGCONT)
    return [] if at_once else [(worker, until) for worker, until in asleep if until > time.monotonic()]


def revive(installation, workers, blows, faults):
    """Starts workers again that ended by themselves. A naive one may, for example when the database is busy."""
    for worker in workers:
        if worker.process.poll() is not None:
            blows[f"end of {worker.kind} by itself"] += 1
            if worker.kind == "bundled":
                faults.append(f"a worker ended by itself:\n{installation.log(worker.name)[-2000:]}")
            worker.start()


def end(installation, workers):
    faults = []
    for worker in workers:
        if worker.kind == "bundled":
            # One that has just started has no handler of SIGTERM yet.
            if (status := worker.stop()) not in (0, -signal.SIGTERM):
                faults.append(f"{worker.name} ended with {status}")
        else:
            worker.kill()
    # A worker removes what killed ones have left when it starts, and every minute.
    last = Worker(installation, "bundled", "last")
    last.start()
    begin = time.monotonic()
    while file_faults(installation) and time.monotonic() - begin < PATIENCE:
        time.sleep(0.1)
    last.stop()
    _, left = wait_for_end_of_orphans(installation.processes, PATIENCE)
    return faults + ([f"workers leave {left}"] if left else [])


def report(installation, blows):
    for blow, count in sorted(blows.items()):
        print(f"  {count:4} x {blow}")
    for worker, count in installation.sql(
        """
        SELECT CASE WHEN position('/' IN c.worker) > 0 THEN 'bundled' ELSE c.worker END, count(*) FROM app.transcripts t
        JOIN watch.claims c USING (session_id, attempt) GROUP BY 1 ORDER BY 1
        """):
        print(f"  {count:>4} transcripts by {worker}")
    takeovers, stores = installation.sql(
        "SELECT (SELECT count(*) FROM watch.claims WHERE attempt > 1), (SELECT count(*) FROM watch.transcripts)")[0]
    print(f"  {takeovers:>4} takeovers; transcripts were stored {stores} times")
