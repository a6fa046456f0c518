"""The load of one fault: sessions with their reporters and watchers."""
import asyncio

import ledger
from installation import happens
from running import PATIENCE
from reporters import Reporter
from watchers import Watcher

WAYS = ("sql", "route", "batch")
# What a row of the table may hold of the load: sessions, and clients that follow all sessions.
SESSIONS, FOLLOWERS = 18, 5


class Cohort:
    """Sessions that are made before a fault, reported about while it lasts, and processed after it."""

    def __init__(self, installation, sessions=SESSIONS):
        self.installation, self.count = installation, sessions
        self.watchers, self.reporters, self.tasks = [], [], []

    async def begin(self):
        patients, names = self.installation.patients, [f"patient-{n}" for n in range(len(self.installation.patients))]
        values = ",".join(f"('{patients[number % len(patients)]}'::uuid, now())" for number in range(self.count))
        rows = self.installation.sql(
            f"INSERT INTO app.therapy_sessions (patient_id, session_date) VALUES {values} RETURNING id, patient_id")
        self.sessions = [session for session, _ in rows]
        for number, (session, patient) in enumerate(rows):
            own = names[patients.index(patient)]
            for name in (own, ("therapist", "admin")[number % 2]):
                self.watchers.append(Watcher(self.installation, name, session).start())
            self.reporters.append(Reporter(self.installation, session, WAYS[number % len(WAYS)]))
        for number in range(FOLLOWERS):
            self.watchers.append(Watcher(self.installation, ("admin", "therapist")[number % 2]).start())
        await happens("each client has the present state", self.all_have_a_state)
        self.tasks = [asyncio.create_task(reporter.run()) for reporter in self.reporters]
        await self.load(1)
        return self

    async def all_have_a_state(self):
        return all(watcher.last(session) for watcher in self.watchers for session in self.of(watcher))

    def of(self, watcher):
        return [watcher.session] if watcher.session else self.sessions

    async def load(self, seconds):
        """Lets the load run for some time. Raises the error of a reporter that has ended."""
        done, _ = await asyncio.wait(self.tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def acknowledges(self, limit=PATIENCE):
        """Waits until each reporter is acknowledged once more."""
        before = [len(reporter.acknowledged) for reporter in self.reporters]

        async def is_true():
            return all(len(reporter.acknowledged) > old for reporter, old in zip(self.reporters, before))
        return await happens("each reporter is acknowledged again", is_true, limit)

    async def finish(self, since=None):
        """Takes the sessions to their end, waits until each client has been sent that, and compares."""
        for reporter in self.reporters:
            reporter.is_ending.set()
        await asyncio.wait_for(asyncio.gather(*self.tasks), 2 * PATIENCE)
        truth = ledger.transitions(self.installation, self.sessions)
        late = None
        try:
            await happens("each client has the last state", lambda: self.all_have(truth), PATIENCE)
        except Exception as error:  # the comparison tells who lacks what
            late = error
        for watcher in self.watchers:
            await watcher.stop()
        verdict = ledger.compare(self, truth, since)
        if late and not verdict.faults:
            verdict.faults.append(str(late))
        return verdict

    async def all_have(self, truth):
        for watcher in self.watchers:
            for session in self.of(watcher):
                last = watcher.last(session)
                if last is None or last.version != truth[session][-1][0]:
                    return False
        return True

    async def stop(self):
        """Ends everything after a failure."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for watcher in self.watchers:
            await watcher.stop()
