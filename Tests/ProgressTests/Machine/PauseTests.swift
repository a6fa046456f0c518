import Domain
import Testing

@testable import Progress

/// What is committed without a hint, because an announcement was half a second before, is found after a pause; what only
/// the poll finds is counted.
@Suite("The pauses of the hub") struct PauseTests {
    private let session = SessionID.random()
    private let machine = Machine()

    /// A machine with a watcher whose opening's pause is over.
    private func watched(at version: Int64 = 1) -> WatcherID {
        let watcher = machine.watcher(of: session, at: version)
        _ = machine.pauseEnded(session)
        machine.settle()
        return watcher
    }

    @Test("The first snapshot wants a reading after a pause, the next ones none")
    func afterSnapshot() {
        let (first, second) = (machine.register(session), machine.register(session))
        #expect(machine.begin(first, at: 1) == .begun(pauses: true))
        #expect(machine.begin(second, at: 1) == .begun(pauses: false))
        #expect(machine.nextReading() == nil)
        #expect(!machine.pauseEnded(session))
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [1]))
    }

    @Test("News wants a reading after a pause; without news there is no other")
    func afterNews() {
        _ = watched()
        #expect(machine.pass(reading(session, version: 2)).pauses == [session])
        #expect(machine.nextReading() == nil)
        #expect(!machine.pauseEnded(session))
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [2]))
        #expect(machine.completed().pauses == [])
        #expect(machine.pass(reading(session, version: 3)).pauses == [session])
    }

    @Test("A percentage without a hint after an announcement is found by the pause")
    func percentage() {
        let watcher = watched()
        machine.pass(reading(session, version: 2))
        _ = machine.pauseEnded(session)
        machine.nextReading()
        let outcome = machine.completed([reading(session, version: 5)])
        #expect(outcome.deliveries == [news(session, 5, to: [watcher], previous: 2)])
        #expect(outcome.pauses == [session], "another may follow it")
        #expect(machine.poll() == 0)
    }

    /// The race: news at 0 ms, a transition at 300 ms, the end of the pause at 600 ms, and at 700 ms a percentage, which is
    /// not announced because the transition was 400 ms before it.
    @Test("News during a pause wants another pause after it")
    func newsDuringPause() {
        _ = machine.watcher(of: session)
        #expect(machine.pass(reading(session, version: 2)).pauses == [], "one pause at a time")
        #expect(machine.pauseEnded(session))
        machine.settle()
        #expect(!machine.pauseEnded(session))
    }

    @Test("The end of a pause is nothing when nobody watches any more")
    func forgotten() {
        let watcher = machine.watcher(of: session)
        machine.release(watcher)
        #expect(!machine.pauseEnded(session))
        #expect(machine.nextReading() == nil)
        #expect(machine.value.watchedSessions.isEmpty)
    }

    @Test("An older pause does not end the one of who watches the session again")
    func watchedAgain() {
        machine.release(machine.watcher(of: session))
        let watcher = machine.register(session)
        #expect(machine.begin(watcher, at: 1) == .begun(pauses: true))
        machine.ready(watcher)
        // The older one's end, then news, then its own end: one more must follow the news.
        #expect(!machine.pauseEnded(session))
        machine.settle()
        #expect(machine.pass(reading(session, version: 2)).pauses == [session])
    }

    /// The race: somebody watched at 0 ms and left; a transition at 550 ms is in the snapshot of who begins at 560 ms, and its
    /// hint comes after that; the pause ends at 600 ms, and at 700 ms a percentage follows, which is not announced.
    @Test("A snapshot with news during a pause wants another pause after it, also when nobody else watches")
    func snapshotWithNews() {
        let next = machine.register(session)
        machine.release(machine.watcher(of: session, at: 1))
        #expect(machine.begin(next, at: 2) == .begun(pauses: false))
        machine.hint(session, 2)
        #expect(machine.nextReading() == nil)
        #expect(machine.pauseEnded(session))
        machine.settle()
        #expect(!machine.pauseEnded(session))
    }

    // MARK: - What only the poll finds

    /// The poll finds news of the session; its snapshot has a version.
    private func find(_ version: Int64) {
        machine.poll()
        machine.nextReading(.poll)
        machine.completed([reading(session, version: version)], .poll)
    }

    @Test("What the poll finds and no hint tells of is counted, once")
    func lostHint() {
        _ = watched()
        find(2)
        #expect(machine.poll() == 1)
        #expect(machine.poll() == 0)
    }

    @Test("What a hint tells of late is not counted", arguments: [Int64(2), 3, .max, 0])
    func lateHint(version: Int64) {
        _ = watched()
        find(2)
        machine.hint(session, version)
        #expect(machine.poll() == 0)
    }

    @Test("A late hint of an older version does not tell of it")
    func olderHint() {
        _ = watched()
        find(3)
        machine.hint(session, 2)
        #expect(machine.poll() == 1)
    }

    @Test("What a hint has told of before the poll is back is not counted", arguments: [true, false])
    func hintBeforePollIsBack(isUnderWay: Bool) {
        _ = watched()
        machine.poll()
        machine.nextReading(.poll)
        machine.settle()
        machine.hint(session, 2)
        if isUnderWay { machine.nextReading() }
        machine.completed([reading(session, version: 2)], .poll)
        #expect(machine.poll() == 0)
    }

    @Test("What the pause would have found is not counted")
    func duringPause() {
        _ = machine.watcher(of: session)
        find(2)
        #expect(machine.poll() == 0)
    }

    @Test("What the pause is about to find is not counted")
    func afterPause() {
        _ = machine.watcher(of: session)
        machine.poll()
        machine.nextReading(.poll)
        machine.settle()
        _ = machine.pauseEnded(session)
        machine.nextReading()
        machine.completed([reading(session, version: 2)], .poll)
        #expect(machine.poll() == 0)
    }

    @Test("News that the hub has by another way before the poll is back is not counted")
    func knownBeforePollIsBack() {
        _ = watched()
        machine.poll()
        machine.nextReading(.poll)
        machine.settle()
        machine.pass(reading(session, version: 2))
        machine.completed([reading(session, version: 2)], .poll)
        #expect(machine.poll() == 0)
    }

    @Test("What a session stands at whose watchers wait for their snapshots is no news, and not counted")
    func openingOnly() {
        _ = machine.register(session)
        find(7)
        #expect(machine.poll() == 0)
    }
}
