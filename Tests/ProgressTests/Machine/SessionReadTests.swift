import Domain
import Testing

@testable import Progress

/// Which sessions the hub reads, and whom the news goes to; how it all plays together is in ``HubModelTests``.
@Suite("The readings of the hub") struct SessionReadTests {
    private let session = SessionID.random()
    private let machine = Machine()

    @Test("A hint of a newer version wants a reading from the known one")
    func hintWantsReading() {
        _ = machine.watcher(of: session, at: 3)
        machine.hint(session, 4)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [3]))
        #expect(machine.nextReading() == nil)
    }

    @Test("A hint of a version that is known adds nothing", arguments: [Int64.min, -1, 2, 3])
    func oldHint(version: Int64) {
        _ = machine.watcher(of: session, at: 3)
        machine.hint(session, version)
        #expect(machine.nextReading() == nil)
    }

    @Test("A hint of a deletion wants a reading, whatever is known")
    func deletionHint() {
        _ = machine.watcher(of: session, at: 3)
        machine.hint(session, 0)
        #expect(machine.nextReading()?.sessions == [session])
    }

    @Test("A hint of a session that nobody watches adds nothing", arguments: [Int64(0), 9, .max])
    func strangeHint(version: Int64) {
        _ = machine.watcher(of: session, at: 3)
        machine.hint(.random(), version)
        #expect(machine.nextReading() == nil)
    }

    @Test("However many hints come of a session, it is read once")
    func manyHints() {
        _ = machine.watcher(of: session)
        for version: Int64 in [2, 3, 3, 2, .max] { machine.hint(session, version) }
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [1]))
        machine.completed([reading(session, version: 3)])
        #expect(machine.nextReading() == nil)
    }

    @Test("A change whose hint comes before the snapshot is read, and goes to whoever begins at an older one")
    func hintBeforeSnapshot() {
        let watcher = machine.register(session)
        machine.hint(session, 2)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [0]))
        machine.begin(watcher, at: 1)
        machine.ready(watcher)
        let outcome = machine.completed([reading(session, version: 2, transitions: [1, 2])])
        #expect(outcome.deliveries == [news(session, 2, to: [watcher], previous: 1)])
    }

    @Test("The same when the reading is back before the snapshot: the watcher is caught up")
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
        #expect(deliveries == [news(session, 3, after: [2], to: [watcher], previous: 1)])
    }

    @Test("A snapshot that is newer than what the others have wants a reading for them, and nothing for its own")
    func newSnapshot() {
        let first = machine.watcher(of: session, at: 2)
        let second = machine.watcher(of: session, at: 4)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [2]))
        let outcome = machine.completed([reading(session, version: 4, transitions: [3])])
        #expect(outcome.deliveries == [news(session, 4, after: [3], to: [first], previous: 2)])
        #expect(machine.value.session(of: second) == session)
    }

    @Test("A snapshot that is older than what the others have is caught up from")
    func oldSnapshot() {
        let late = machine.register(session)
        _ = machine.watcher(of: session, at: 5)
        machine.begin(late, at: 3)
        machine.ready(late)
        #expect(machine.nextReading() == nil)
        #expect(machine.nextCatchUp()?.map(\.version) == [3])
        let deliveries = machine.completedCatchUp([reading(session, version: 5, transitions: [4])])
        #expect(deliveries == [news(session, 5, after: [4], to: [late], previous: 3)])
    }

    @Test("A snapshot of what the others have wants nothing")
    func sameSnapshot() {
        _ = machine.watcher(of: session, at: 5)
        _ = machine.watcher(of: session, at: 5)
        #expect(machine.nextReading() == nil)
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("Watchers who had different versions get each what is new to them, the others nothing")
    func groups() {
        let two = machine.watcher(of: session, at: 2)
        let (five, alsoFive) = (machine.watcher(of: session, at: 5), machine.watcher(of: session, at: 5))
        let seven = machine.watcher(of: session, at: 7)
        let opening = machine.register(session)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [2]))
        let outcome = machine.completed([reading(session, version: 7, transitions: [4, 6, 7])])
        #expect(outcome.deliveries.count == 2)
        #expect(outcome.deliveries.contains(news(session, 7, after: [4, 6], to: [two], previous: 2)))
        let others = outcome.deliveries.first { $0.previous == 5 }
        #expect(others?.message == .state(sample(session, version: 7), after: [transition(6)]))
        #expect(Set(others?.watchers ?? []) == [five, alsoFive])
        #expect(!outcome.deliveries.contains { $0.watchers.contains(seven) || $0.watchers.contains(opening) })
    }

    /// The race: the reading under way asked from version 5, so it lacks the transitions of 4 and 5, which a watcher that
    /// begins at 3 meanwhile has not been given.
    @Test("Who begins behind the reading under way is not given it, but caught up")
    func beginBehindReading() {
        let late = machine.register(session)
        let first = machine.watcher(of: session, at: 5)
        machine.hint(session, 8)
        machine.nextReading()
        machine.begin(late, at: 3)
        machine.ready(late)
        let outcome = machine.completed([reading(session, version: 8, transitions: [7])])
        #expect(outcome.deliveries == [news(session, 8, after: [7], to: [first], previous: 5)])
        #expect(machine.nextCatchUp()?.map(\.version) == [3])
        let deliveries = machine.completedCatchUp([reading(session, version: 8, transitions: [4, 5, 7])])
        #expect(deliveries == [news(session, 8, after: [4, 5, 7], to: [late], previous: 3)])
    }

    @Test("A reading goes out once")
    func once() {
        let watcher = machine.watcher(of: session)
        let expected = news(session, 2, to: [watcher], previous: 1)
        for deliveries in [[expected], []] {
            machine.resync()
            machine.nextReading()
            #expect(machine.completed([reading(session, version: 2)]).deliveries == deliveries)
        }
    }

    @Test("One reading of a lane at a time, and the lanes do not wait for each other")
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

    @Test("The poll does not ask what a hint asks already")
    func pollAfterHint() {
        let other = SessionID.random()
        _ = (machine.watcher(of: session), machine.watcher(of: other))
        machine.hint(session, 2)
        machine.poll()
        #expect(machine.nextReading(.poll)?.sessions == [other])
        #expect(machine.nextReading(.hints)?.sessions == [session])
    }

    @Test("When both lanes find news, whichever is back first, nobody is told twice", arguments: [true, false])
    func bothLanes(hintsFirst: Bool) {
        let watcher = machine.watcher(of: session)
        machine.poll()
        machine.nextReading(.poll)
        machine.hint(session, 3)
        machine.nextReading(.hints)
        // The poll's snapshot is the older one.
        let old = reading(session, version: 2, transitions: [2])
        let new = reading(session, version: 3, transitions: [2, 3])
        if hintsFirst {
            #expect(
                machine.completed([new], .hints).deliveries == [
                    news(session, 3, after: [2], to: [watcher], previous: 1)
                ])
            #expect(machine.completed([old], .poll).deliveries == [])
        } else {
            #expect(machine.completed([old], .poll).deliveries == [news(session, 2, to: [watcher], previous: 1)])
            #expect(machine.completed([new], .hints).deliveries == [news(session, 3, to: [watcher], previous: 2)])
        }
        machine.hint(session, 4)
        #expect(machine.nextReading()?.versions == [3])
    }

    @Test("A hint that comes while a reading is under way wants another: the reading may be from before it")
    func hintDuringReading() {
        _ = machine.watcher(of: session)
        machine.hint(session, 2)
        machine.nextReading()
        machine.hint(session, 3)
        machine.completed([reading(session, version: 2)])
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [2]))
    }

    @Test("What a failed reading wanted is still wanted", arguments: SessionReads.Lane.allCases)
    func failedReading(lane: SessionReads.Lane) {
        _ = machine.watcher(of: session)
        if lane == .poll { machine.poll() } else { machine.hint(session, 2) }
        let wanted = machine.nextReading(lane)
        machine.failed(lane)
        machine.hint(session, 3)
        #expect(machine.nextReading(lane) == wanted)
        #expect(wanted?.sessions == [session])
    }

    @Test("A reading has its limit, and the next one takes the rest")
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

    /// The race: a page is loaded again while its session waits to be read.
    @Test(
        "A session that waits to be read, is forgotten and watched again is read once",
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
        #expect(outcome.deliveries == [news(session, 2, to: [second], previous: 1)])
        // Nor is it read when nobody wants that any more.
        want()
        machine.release(second)
        _ = machine.watcher(of: session)
        #expect(machine.nextReading(lane)?.sessions.contains(session) != true)
    }

    @Test("What nobody asked for is dropped")
    func unasked() {
        let other = SessionID.random()
        _ = (machine.watcher(of: session), machine.watcher(of: other))
        #expect(machine.completed([reading(session, version: 2)]).deliveries == [])
        machine.hint(session, 2)
        machine.nextReading()
        #expect(machine.completed([reading(other, version: 9)]).deliveries == [])
        machine.hint(other, 2)
        #expect(machine.nextReading() == SessionRead(sessions: [other], versions: [1]), "not known at 9 because of it")
    }

    @Test("A change of rights wants a reading for the epoch alone, after the one under way", arguments: [true, false])
    func epochAlone(isUnderWay: Bool) {
        _ = machine.watcher(of: session)
        if isUnderWay {
            machine.hint(session, 2)
            machine.nextReading()
        }
        machine.rightsChanged()
        if isUnderWay {
            #expect(machine.nextReading() == nil)
            machine.completed()
        }
        #expect(machine.nextReading(.poll) == nil)
        #expect(machine.nextReading() == SessionRead())
        machine.failed()
        #expect(machine.nextReading() == SessionRead(), "it failed, so it is still wanted")
        machine.completed(epoch: 2)
        #expect(machine.nextReading() == nil)
        #expect(machine.value.epoch == 2)
    }
}
