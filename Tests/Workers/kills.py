"""One worker gets SIGKILL at random moments. The next one takes its sessions over."""
import collections
import signal
from subprocess import TimeoutExpired

from checks import file_faults, session_faults
from installation import LEASE
from processes import Worker, wait_for_end_of_orphans
from running import PATIENCE, eventually

# A worker lives so many seconds at most. It needs about a third of a second to claim.
LONGEST_LIFE = 2
# So many killed workers leave their leases to run out by themselves, which takes a minute, in a run of at least ten kills.
PATIENT_SHARE = 0.1


def run(installation, chance, kills, sessions):
    worker = Worker(installation, "bundled", "worker")
    installation.upload(sessions)
    faults, moments, slowest, longest = [], collections.Counter(), 0, LONGEST_LIFE
    while sum(moments.values()) < kills:
        if installation.unfinished() < 4:
            # Each kill has to meet a worker at work.
            installation.upload(4)
        worker.start()
        life = chance.uniform(0, longest)
        try:
            worker.process.wait(life)
            raise SystemExit(f"the worker ended by itself:\n{installation.log('worker')[-5000:]}")
        except TimeoutExpired:
            worker.kill()
        seconds, left = wait_for_end_of_orphans(installation.processes, PATIENCE)
        slowest = max(slowest, seconds)
        if left:
            faults.append(f"a killed worker leaves {left}")
            break
        statuses = installation.sql(
            f"""
            SELECT p.status FROM app.session_leases l JOIN app.session_progress p ON p.session_id = l.session_id
            WHERE l.worker LIKE '{worker.lease_name}' AND l.lease_hash IS NOT NULL
            """)
        # On a loaded machine a worker needs longer to claim.
        longest = LONGEST_LIFE if statuses else longest * 1.3
        if statuses:
            moments["+".join(sorted(status for status, in statuses))] += 1
        if chance.random() > PATIENT_SHARE or kills < 10:
            installation.lapse(worker.lease_name)
    worker.start()
    eventually("the last worker processes all sessions", lambda: installation.unfinished() == 0, LEASE + PATIENCE)
    if (status := worker.stop()) not in (0, -signal.SIGTERM):
        faults.append(f"the last worker ended with {status}")
    print(f"{sum(moments.values())} kills of a worker at work, {len(installation.digests)} sessions")
    for statuses, count in moments.most_common():
        print(f"  {count:4} at {statuses}")
    print(f"the stages of a killed worker lived on for {slowest * 1000:.0f} ms at most")
    return faults + session_faults(installation) + file_faults(installation)
