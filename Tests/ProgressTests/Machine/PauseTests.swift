import Domain
import Testing

@testable import Progress

/// The database sends no hint of a percentage within 500 ms of the last one.
///
/// The hub finds such a change after a pause, and counts the changes that only the poll finds.
@Suite("Pauses of sessions") struct PauseTests {
    private let session = SessionID.random()
    private let machine = Machine()

    /// A watcher whose first pause has ended.
    private func watched(at version: Int64 = 1) -> WatcherID {
        let watcher = machine.watcher(of: session, at: version)
        _ = machine.pauseEnded(session)
        machine.settle()
        return watcher
    }

    @Test("The first snapshot begins a pause, and later ones do not")
    func afterSnapshot() {
        let (first, second) = (machine.register(session), machine.register(session))
        #expect(machine.begin(first, at: 1) == .begun(pauses: true))
        #expect(machine.begin(second, at: 1) == .begun(pauses: false))
        #expect(machine.nextReading() == nil)
        #expect(!machine.pauseEnded(session))
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [1]))
    }

    @Test("News begins a pause, and a reading without news does not")
    func afterNews() {
        _ = watched()
        #expect(machine.pass(reading(session, version: 2)).pauses == [session])
        #expect(machine.nextReading() == nil)
        #expect(!machine.pauseEnded(session))
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [2]))
        #expect(machine.completed().pauses == [])
        #expect(machine.pass(reading(session, version: 3)).pauses == [session])
    }

    @Test("The reading after a pause finds a percentage without a hint")
    func percentage() {
        let watcher = watched()
        machine.pass(reading(session, version: 2))
        _ = machine.pauseEnded(session)
        machine.nextReading()
        let outcome = machine.completed([reading(session, version: 5)])
        #expect(outcome.deliveries == [news(session, 5, to: [watcher], previousVersion: 2)])
        #expect(outcome.pauses == [session], "another percentage may follow")
        #expect(machine.poll() == 0)
    }

    /// The race: news comes at 0 ms, and a transition at 300 ms.
    ///
    /// The pause ends at 600 ms. A percentage at 700 ms has no hint, because the transition was 400 ms before it.
    @Test("News during a pause begins another one at its end")
    func newsDuringPause() {
        _ = machine.watcher(of: session)
        #expect(machine.pass(reading(session, version: 2)).pauses == [], "one pause at a time")
        #expect(machine.pauseEnded(session))
        machine.settle()
        #expect(!machine.pauseEnded(session))
    }

    @Test("The end of a pause of a session without watchers has no effect")
    func forgotten() {
        let watcher = machine.watcher(of: session)
        machine.release(watcher)
        #expect(!machine.pauseEnded(session))
        #expect(machine.nextReading() == nil)
        #expect(machine.value.watchedSessions.isEmpty)
    }

    @Test("The pause of an earlier watcher does not end that of a new one")
    func watchedAgain() {
        machine.release(machine.watcher(of: session))
        let watcher = machine.register(session)
        #expect(machine.begin(watcher, at: 1) == .begun(pauses: true))
        machine.ready(watcher)
        // The older pause ends, then news comes, then the newer pause ends. Another pause must follow the news.
        #expect(!machine.pauseEnded(session))
        machine.settle()
        #expect(machine.pass(reading(session, version: 2)).pauses == [session])
    }

    /// The race: a watcher begins at 0 ms and leaves.
    ///
    /// A second one begins at 560 ms, and its snapshot contains a transition of 550 ms, whose hint comes later. The
    /// pause ends at 600 ms. A percentage at 700 ms has no hint.
    @Test("A snapshot with news during a pause begins another one at its end")
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

    // MARK: - Changes that only the poll finds

    /// The poll finds a version of the session.
    private func find(_ version: Int64) {
        machine.poll()
        machine.nextReading(.poll)
        machine.completed([reading(session, version: version)], .poll)
    }

    @Test("A change that the poll finds without a hint is counted once")
    func lostHint() {
        _ = watched()
        find(2)
        #expect(machine.poll() == 1)
        #expect(machine.poll() == 0)
    }

    @Test("A change with a late hint is not counted", arguments: [Int64(2), 3, .max, 0])
    func lateHint(version: Int64) {
        _ = watched()
        find(2)
        machine.hint(session, version)
        #expect(machine.poll() == 0)
    }

    @Test("A late hint of an older version does not prevent the count")
    func olderHint() {
        _ = watched()
        find(3)
        machine.hint(session, 2)
        #expect(machine.poll() == 1)
    }

    @Test("A change whose hint comes during the poll is not counted", arguments: [true, false])
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

    @Test("A change during a pause is not counted")
    func duringPause() {
        _ = machine.watcher(of: session)
        find(2)
        #expect(machine.poll() == 0)
    }

    @Test("A change that the reading after a pause finds is not counted")
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

    @Test("A change that another reading finds during the poll is not counted")
    func knownBeforePollIsBack() {
        _ = watched()
        machine.poll()
        machine.nextReading(.poll)
        machine.settle()
        machine.pass(reading(session, version: 2))
        machine.completed([reading(session, version: 2)], .poll)
        #expect(machine.poll() == 0)
    }

    @Test("A version of a session is not counted while its watchers wait for their snapshots")
    func pendingOnly() {
        _ = machine.register(session)
        find(7)
        #expect(machine.poll() == 0)
    }
}
