import Domain
import Testing

@testable import Progress

/// Which sessions the hub reads, and which watchers get the news.
///
/// ``HubModelTests`` tests random orders of events.
@Suite("Reads of sessions") struct SessionReadTests {
    private let session = SessionID.random()
    private let machine = Machine()

    @Test("A hint of a newer version causes a reading after the known version")
    func hintWantsReading() {
        _ = machine.watcher(of: session, at: 3)
        machine.hint(session, 4)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [3]))
        #expect(machine.nextReading() == nil)
    }

    @Test("A hint of a known version causes no reading", arguments: [Int64.min, -1, 2, 3])
    func oldHint(version: Int64) {
        _ = machine.watcher(of: session, at: 3)
        machine.hint(session, version)
        #expect(machine.nextReading() == nil)
    }

    @Test("A hint of a deletion always causes a reading")
    func deletionHint() {
        _ = machine.watcher(of: session, at: 3)
        machine.hint(session, 0)
        #expect(machine.nextReading()?.sessions == [session])
    }

    @Test("A hint of a session without watchers causes no reading", arguments: [Int64(0), 9, .max])
    func strangeHint(version: Int64) {
        _ = machine.watcher(of: session, at: 3)
        machine.hint(.random(), version)
        #expect(machine.nextReading() == nil)
    }

    @Test("Many hints of a session cause one reading")
    func manyHints() {
        _ = machine.watcher(of: session)
        for version: Int64 in [2, 3, 3, 2, .max] { machine.hint(session, version) }
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [1]))
        machine.completed([reading(session, version: 3)])
        #expect(machine.nextReading() == nil)
    }

    @Test("A watcher that begins with an older snapshot gets a change whose hint came before")
    func hintBeforeSnapshot() {
        let watcher = machine.register(session)
        machine.hint(session, 2)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [0]))
        machine.begin(watcher, at: 1)
        machine.ready(watcher)
        let outcome = machine.completed([reading(session, version: 2, transitions: [1, 2])])
        #expect(outcome.deliveries == [news(session, 2, to: [watcher], previousVersion: 1)])
    }

    @Test("A watcher whose snapshot is read after the news needs a catch-up")
    func readingBeforeSnapshot() {
        let watcher = machine.register(session)
        machine.hint(session, 3)
        machine.nextReading()
        #expect(machine.completed([reading(session, version: 3, transitions: [1, 2, 3])]).deliveries == [])
        machine.begin(watcher, at: 1)
        #expect(machine.nextCatchUp() == nil, "it has no socket")
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.map(\.version) == [1])
        let deliveries = machine.completedCatchUp([reading(session, version: 3, transitions: [2, 3])])
        #expect(deliveries == [news(session, 3, after: [2], to: [watcher], previousVersion: 1)])
    }

    @Test("A newer snapshot of one watcher causes a reading for the others")
    func newSnapshot() {
        let first = machine.watcher(of: session, at: 2)
        let second = machine.watcher(of: session, at: 4)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [2]))
        let outcome = machine.completed([reading(session, version: 4, transitions: [3])])
        #expect(outcome.deliveries == [news(session, 4, after: [3], to: [first], previousVersion: 2)])
        #expect(machine.value.session(of: second) == session)
    }

    @Test("A watcher with an older snapshot than the others needs a catch-up")
    func oldSnapshot() {
        let late = machine.register(session)
        _ = machine.watcher(of: session, at: 5)
        machine.begin(late, at: 3)
        machine.ready(late)
        #expect(machine.nextReading() == nil)
        #expect(machine.nextCatchUp()?.map(\.version) == [3])
        let deliveries = machine.completedCatchUp([reading(session, version: 5, transitions: [4])])
        #expect(deliveries == [news(session, 5, after: [4], to: [late], previousVersion: 3)])
    }

    @Test("A snapshot of the version that the others have causes no read")
    func sameSnapshot() {
        _ = machine.watcher(of: session, at: 5)
        _ = machine.watcher(of: session, at: 5)
        #expect(machine.nextReading() == nil)
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("Each watcher gets what is new to it, and watchers of the newest version get nothing")
    func groups() {
        let two = machine.watcher(of: session, at: 2)
        let (five, alsoFive) = (machine.watcher(of: session, at: 5), machine.watcher(of: session, at: 5))
        let seven = machine.watcher(of: session, at: 7)
        let pending = machine.register(session)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [2]))
        let outcome = machine.completed([reading(session, version: 7, transitions: [4, 6, 7])])
        #expect(outcome.deliveries.count == 2)
        #expect(outcome.deliveries.contains(news(session, 7, after: [4, 6], to: [two], previousVersion: 2)))
        let others = outcome.deliveries.first { $0.previousVersion == 5 }
        #expect(others?.message == .state(sample(session, version: 7), after: [transition(6)]))
        #expect(Set(others?.watchers ?? []) == [five, alsoFive])
        #expect(!outcome.deliveries.contains { $0.watchers.contains(seven) || $0.watchers.contains(pending) })
    }

    /// The race: the reading under way looks for transitions after version 5.
    ///
    /// A watcher that begins at version 3 meanwhile misses transitions 4 and 5.
    @Test("A watcher that begins behind the reading under way needs a catch-up")
    func beginBehindReading() {
        let late = machine.register(session)
        let first = machine.watcher(of: session, at: 5)
        machine.hint(session, 8)
        machine.nextReading()
        machine.begin(late, at: 3)
        machine.ready(late)
        let outcome = machine.completed([reading(session, version: 8, transitions: [7])])
        #expect(outcome.deliveries == [news(session, 8, after: [7], to: [first], previousVersion: 5)])
        #expect(machine.nextCatchUp()?.map(\.version) == [3])
        let deliveries = machine.completedCatchUp([reading(session, version: 8, transitions: [4, 5, 7])])
        #expect(deliveries == [news(session, 8, after: [4, 5, 7], to: [late], previousVersion: 3)])
    }

    @Test("A watcher gets a version once")
    func once() {
        let watcher = machine.watcher(of: session)
        let expected = news(session, 2, to: [watcher], previousVersion: 1)
        for deliveries in [[expected], []] {
            machine.resync()
            machine.nextReading()
            #expect(machine.completed([reading(session, version: 2)]).deliveries == deliveries)
        }
    }

    @Test("Each lane has one reading at a time, and does not wait for the other lane")
    func singleFlight() {
        _ = machine.watcher(of: session)
        machine.poll()
        #expect(machine.nextReading(.poll)?.sessions == [session])
        machine.hint(session, 2)
        #expect(machine.nextReading(.hints)?.sessions == [session])
        machine.resync()
        machine.poll()
        #expect(machine.nextReading(.hints) == nil)
        #expect(machine.nextReading(.poll) == nil)
        machine.completed()
        #expect(machine.nextReading(.hints)?.sessions == [session])
        #expect(machine.nextReading(.poll) == nil)
    }

    @Test("If the poll knows which hints were sent, it reads only the sessions that are newer than known")
    func pollWithHints() {
        let other = SessionID.random()
        _ = (machine.watcher(of: session, at: 3), machine.watcher(of: other, at: 3))
        machine.poll([session: 4, other: 3, .random(): 9])
        #expect(machine.nextReading(.poll) == SessionRead(sessions: [session], versions: [3]))
        #expect(machine.nextReading(.poll) == nil)
    }

    @Test("The poll does not read a session that a hint has queued")
    func pollAfterHint() {
        let other = SessionID.random()
        _ = (machine.watcher(of: session), machine.watcher(of: other))
        machine.hint(session, 2)
        machine.poll()
        #expect(machine.nextReading(.poll)?.sessions == [other])
        #expect(machine.nextReading(.hints)?.sessions == [session])
    }

    @Test("When both lanes find news, no watcher gets a version twice", arguments: [true, false])
    func bothLanes(hintsFirst: Bool) {
        let watcher = machine.watcher(of: session)
        machine.poll()
        machine.nextReading(.poll)
        machine.hint(session, 3)
        machine.nextReading(.hints)
        // The database snapshot of the poll is the older one.
        let old = reading(session, version: 2, transitions: [2])
        let new = reading(session, version: 3, transitions: [2, 3])
        if hintsFirst {
            #expect(
                machine.completed([new], .hints).deliveries == [
                    news(session, 3, after: [2], to: [watcher], previousVersion: 1)
                ])
            #expect(machine.completed([old], .poll).deliveries == [])
        } else {
            #expect(machine.completed([old], .poll).deliveries == [news(session, 2, to: [watcher], previousVersion: 1)])
            #expect(
                machine.completed([new], .hints).deliveries == [news(session, 3, to: [watcher], previousVersion: 2)])
        }
        machine.hint(session, 4)
        #expect(machine.nextReading()?.versions == [3])
    }

    @Test("A hint during a reading causes another one, because the reading may have missed the change")
    func hintDuringReading() {
        _ = machine.watcher(of: session)
        machine.hint(session, 2)
        machine.nextReading()
        machine.hint(session, 3)
        machine.completed([reading(session, version: 2)])
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [2]))
    }

    @Test("The hub repeats a failed reading", arguments: SessionReads.Lane.allCases)
    func failedReading(lane: SessionReads.Lane) {
        _ = machine.watcher(of: session)
        if lane == .poll { machine.poll() } else { machine.hint(session, 2) }
        let wanted = machine.nextReading(lane)
        machine.failed(lane)
        machine.hint(session, 3)
        #expect(machine.nextReading(lane) == wanted)
        #expect(wanted?.sessions == [session])
    }

    @Test("A reading has a limit, and the next one reads the rest")
    func readLimit() {
        let machine = Machine(readLimit: 3)
        let sessions = Set((0..<7).map { _ in SessionID.random() })
        for session in sessions { _ = machine.watcher(of: session) }
        machine.resync()
        var sizes: [Int] = []
        var read: Set<SessionID> = []
        while let next = machine.nextReading() {
            sizes.append(next.sessions.count)
            read.formUnion(next.sessions)
            machine.completed()
        }
        #expect(sizes == [3, 3, 1])
        #expect(read == sessions)
    }

    /// The race: a client reloads the page while its session waits for a reading.
    @Test(
        "A session that loses its watchers while it waits, and gets a new one, is read once",
        arguments: SessionReads.Lane.allCases)
    func watchedAgain(lane: SessionReads.Lane) {
        func want() { if lane == .poll { machine.poll() } else { machine.hint(session, 9) } }
        let other = SessionID.random()
        _ = machine.watcher(of: other)
        machine.poll()
        machine.nextReading(lane)
        let first = machine.watcher(of: session)
        want()
        machine.release(first)
        let second = machine.watcher(of: session)
        want()
        machine.completed([], lane)
        let wanted = machine.nextReading(lane)
        #expect(wanted?.sessions.count { $0 == session } == 1)
        let outcome = machine.completed([reading(session, version: 2)], lane)
        #expect(outcome.deliveries == [news(session, 2, to: [second], previousVersion: 1)])
        // A new watcher does not inherit the wish of the one before.
        want()
        machine.release(second)
        _ = machine.watcher(of: session)
        #expect(machine.nextReading(lane)?.sessions.contains(session) != true)
    }

    @Test("News of sessions outside the reading is dropped")
    func unasked() {
        let other = SessionID.random()
        _ = (machine.watcher(of: session), machine.watcher(of: other))
        #expect(machine.completed([reading(session, version: 2)]).deliveries == [])
        machine.hint(session, 2)
        machine.nextReading()
        #expect(machine.completed([reading(other, version: 9)]).deliveries == [])
        machine.hint(other, 2)
        #expect(
            machine.nextReading() == SessionRead(sessions: [other], versions: [1]), "version 9 did not become known")
    }
}
