"""The ledger: what was committed, compared with what each client was sent."""
import collections
import dataclasses
import statistics

from watchers import Seen

# How many of a kind of difference a run prints.
SHOWN = 5


@dataclasses.dataclass
class Verdict:
    """What a comparison found. Delays are in seconds, from a transition to its arrival at a client."""

    transitions: int = 0
    clients: int = 0
    arrivals: int = 0
    reconnects: int = 0
    lost_reports: int = 0
    delays: list = dataclasses.field(default_factory=list)
    faults: list = dataclasses.field(default_factory=list)
    statuses: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    others: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    @property
    def worst(self):
        return max(self.delays, default=0)

    @property
    def median(self):
        return statistics.median(self.delays) if self.delays else 0

    def sentence(self):
        words = f"{self.transitions} transitions at {self.clients} clients: none missing, twice or out of order"
        if self.reconnects:
            words += f"; {self.reconnects} reconnects"
        return words


def transitions(installation, sessions):
    """The committed transitions of each session in order: version, status, and the time by the system's clock."""
    wanted = ",".join(f"'{session}'" for session in sessions)
    found = {session: [] for session in sessions}
    for session, version, status, at in installation.sql(
            "SELECT session_id, version, status, extract(epoch FROM at) FROM app.session_events "
            f"WHERE session_id IN ({wanted}) ORDER BY session_id, version"):
        found[session].append((int(version), status, float(at)))
    return found


def compare(cohort, truth, since=None):
    """Compares what the watchers of a cohort were sent with what is committed.

    since: only connections that began later, and transitions from there on, count. After a failover that lost commits, what
    clients saw before is not comparable.
    """
    verdict = Verdict(clients=len(cohort.watchers), transitions=sum(map(len, truth.values())))
    for watcher in cohort.watchers:
        verdict.reconnects += max(watcher.connections - 1, 0)
        verdict.statuses += watcher.statuses
        verdict.others += watcher.others
        for session in [watcher.session] if watcher.session else list(truth):
            seen = [one for one in watcher.seen if one.session == session
                    and (since is None or watcher.began[one.connection] >= since)]
            faults = compare_one(seen, truth[session], is_single=watcher.session is not None)
            verdict.faults += [f"{watcher.name}, session {session}: {fault}" for fault in faults]
            verdict.arrivals += len(seen)
            verdict.delays += delays(seen, truth[session])
    for reporter in cohort.reporters:
        committed = {(version, status) for version, status, _ in truth[reporter.session]}
        newest = truth[reporter.session][-1][0]
        for version, status in reporter.acknowledged:
            # A percentage is no transition: its version lies between two of them.
            if version > newest or (status_at(truth[reporter.session], version) != status and (version, status) not in committed):
                verdict.lost_reports += 1
    if verdict.lost_reports and since is None:
        verdict.faults.append(f"{verdict.lost_reports} acknowledged reports are lost")
    return verdict


def compare_one(seen, truth, is_single):
    """The differences of one session at one client."""
    if not seen:
        return ["no state was sent"]
    faults, found = [], {}
    last_connection, last_version = 0, 0
    for one in seen:
        if one.connection == last_connection and one.version <= last_version:
            faults.append(f"version {one.version} after {last_version} on one connection")
        if is_single and one.version < last_version:
            faults.append(f"version {one.version} after {last_version}, which the client named when it reconnected")
        expected = status_at(truth, one.version)
        if expected != one.status:
            faults.append(f"version {one.version} was sent as {one.status}, and is {expected}")
        found[one.version] = one
        last_connection, last_version = one.connection, one.version
    missing = [version for version, _, _ in truth if version > seen[0].version and version not in found]
    if missing:
        faults.append(f"transitions {missing[:SHOWN]} are missing ({len(missing)})")
    if seen[-1].status != truth[-1][1] or seen[-1].version != truth[-1][0]:
        faults.append(f"the last state sent is {seen[-1].status} {seen[-1].version}, and {truth[-1][1]} {truth[-1][0]} stands")
    return faults[:SHOWN]


def status_at(truth, version):
    """The status of a session at a version; None before the first one."""
    status = None
    for number, name, _ in truth:
        if number > version:
            break
        status = name
    return status


def delays(seen, truth):
    """How long after its transition each state arrived for the first time, but the first one of a client."""
    first = {}
    for one in seen:
        first.setdefault(one.version, one.at)
    return [max(first[version] - at, 0) for version, _, at in truth if version > seen[0].version and version in first] if seen else []


def prove():
    """Fails unless the comparison finds each kind of difference. A ledger that cannot fail is worth nothing."""
    truth = [(1, "pending", 0.0), (2, "uploading", 1.0), (4, "pending", 2.0), (5, "processed", 3.0)]

    def sent(*events):
        return [Seen(connection, 0.0, "s", version, status, "progress") for connection, version, status in events]
    whole = [(1, 1, "pending"), (1, 2, "uploading"), (1, 3, "uploading"), (2, 4, "pending"), (2, 5, "processed")]
    spoilt = {
        "missing": [event for event in whole if event[1] != 4],
        "at once": whole[:3] + [whole[2]] + whole[3:],
        "in the wrong order": [whole[1], whole[0], *whole[2:]],
        "an older one after a reconnect": whole[:3] + [(2, 2, "uploading")] + whole[3:],
        "another status": [whole[0], (1, 2, "pending"), *whole[2:]],
        "uncommitted": whole[:4] + [(2, 5, "failed")],
        "without an end": whole[:-1],
        "nothing": [],
    }
    if faults := compare_one(sent(*whole), truth, is_single=True):
        raise SystemExit(f"the ledger refuses what is right: {faults}")
    for what, events in spoilt.items():
        if not compare_one(sent(*events), truth, is_single=True):
            raise SystemExit(f"the ledger does not see: {what}")
