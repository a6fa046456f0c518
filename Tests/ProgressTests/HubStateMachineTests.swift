import Domain
import Testing

@testable import Progress

/// The rules of the hub, one by one; their interplay is in ``HubModelTests``.
@Suite struct HubStateMachineTests {
    private let session = SessionID.random()

    /// A machine with one watcher that has a snapshot.
    private func machine(at version: Int64) -> (Machine, HubStateMachine.WatcherID) {
        let machine = Machine()
        let watcher = machine.subscribe(to: session)
        _ = machine.begin(watcher, at: version)
        return (machine, watcher)
    }

    @Test("A hint of a newer version wants a read from the known one")
    func hintWantsRead() {
        let (machine, _) = machine(at: 3)
        #expect(machine.hint(session, version: 4))
        #expect(machine.nextRead()?.sessions == [session: 3])
    }

    @Test("A hint of a version that is known adds nothing", arguments: [Int64.min, -1, 0, 2, 3])
    func oldHint(version: Int64) {
        let (machine, _) = machine(at: 3)
        #expect(!machine.hint(session, version: version))
        #expect(machine.nextRead() == nil)
    }

    @Test("A hint of a session that nobody watches adds nothing")
    func strangeHint() {
        let (machine, _) = machine(at: 3)
        #expect(!machine.hint(.random(), version: 9))
        #expect(machine.nextRead() == nil)
    }

    @Test("Before the first snapshot there is no version to read from, but the hint is not forgotten")
    func hintBeforeSnapshot() {
        let machine = Machine()
        let watcher = machine.subscribe(to: session)
        #expect(machine.hint(session, version: 2))
        #expect(machine.nextRead() == nil)
        _ = machine.begin(watcher, at: 1)
        #expect(machine.nextRead()?.sessions == [session: 1])
    }

    @Test("One read at a time, so that readings cannot overtake each other")
    func singleFlight() {
        let (machine, _) = machine(at: 1)
        machine.markAllStale()
        #expect(machine.nextRead() != nil)
        machine.markAllStale()
        #expect(machine.nextRead() == nil)
        _ = machine.completed([], existing: [session])
        #expect(machine.nextRead()?.sessions == [session: 1])
    }

    @Test("A hint that comes while a read is under way wants another: the read may have been before it")
    func hintDuringRead() {
        let (machine, _) = machine(at: 1)
        _ = machine.hint(session, version: 2)
        _ = machine.nextRead()
        #expect(machine.hint(session, version: 3))
        _ = machine.completed([reading(session, version: 2)], existing: [session])
        #expect(machine.nextRead()?.sessions == [session: 2])
    }

    @Test("A reading goes to each watcher that was given less, with what that one was given")
    func deliversToThoseBehind() {
        let (machine, first) = machine(at: 2)
        let second = machine.subscribe(to: session)
        _ = machine.begin(second, at: 5)
        let third = machine.subscribe(to: session)
        _ = machine.begin(third, at: 7)
        machine.markAllStale()
        #expect(machine.nextRead()?.sessions == [session: 2])
        let outcome = machine.completed([reading(session, version: 7, transitions: [4, 6])], existing: [session])
        let given = Dictionary(uniqueKeysWithValues: outcome.deliveries.map { ($0.watcher, $0.after) })
        #expect(given == [first: 2, second: 5])
    }

    @Test("A reading is delivered once")
    func deliversOnce() {
        let (machine, _) = machine(at: 1)
        for expected in [1, 0] {
            machine.markAllStale()
            _ = machine.nextRead()
            let outcome = machine.completed([reading(session, version: 2)], existing: [session])
            #expect(outcome.deliveries.count == expected)
        }
    }

    @Test("A watcher without its snapshot is given nothing")
    func nothingBeforeSnapshot() {
        let (machine, first) = machine(at: 1)
        _ = machine.subscribe(to: session)
        machine.markAllStale()
        _ = machine.nextRead()
        let outcome = machine.completed([reading(session, version: 2)], existing: [session])
        #expect(outcome.deliveries.map(\.watcher) == [first])
    }

    @Test("A snapshot older than what the others know is caught up from there")
    func oldSnapshot() {
        let (machine, first) = machine(at: 1)
        let late = machine.subscribe(to: session)
        machine.markAllStale()
        _ = machine.nextRead()
        _ = machine.completed([reading(session, version: 6)], existing: [session])
        _ = machine.begin(late, at: 3)
        #expect(machine.nextRead()?.sessions == [session: 3])
        let outcome = machine.completed([reading(session, version: 6, transitions: [4, 6])], existing: [session])
        #expect(outcome.deliveries.map(\.watcher) == [late])
        #expect(outcome.deliveries.map(\.after) == [3])
        #expect(!outcome.deliveries.contains { $0.watcher == first })
    }

    /// The race: the read under way asked from version 5, so its reading lacks the transitions of 4 and 5, which a watcher
    /// that begins at 3 meanwhile has not been given.
    @Test("A watcher that begins behind the read under way waits for a read of its own")
    func beginBehindRead() {
        let (machine, _) = machine(at: 5)
        let late = machine.subscribe(to: session)
        machine.markAllStale()
        _ = machine.nextRead()
        _ = machine.begin(late, at: 3)
        let outcome = machine.completed([reading(session, version: 8, transitions: [7])], existing: [session])
        #expect(!outcome.deliveries.contains { $0.watcher == late })
        #expect(machine.nextRead()?.sessions == [session: 3])
        let second = machine.completed([reading(session, version: 8, transitions: [4, 5, 7])], existing: [session])
        #expect(second.deliveries.map(\.watcher) == [late])
        #expect(second.deliveries.map(\.after) == [3])
    }

    @Test("What a failed read wanted is still wanted")
    func failedRead() {
        let (machine, _) = machine(at: 1)
        _ = machine.hint(session, version: 2)
        let read = machine.nextRead()
        machine.failed()
        #expect(machine.nextRead() == read)
    }

    /// A round with news of `session` at a version.
    private func news(_ version: Int64, _ machine: Machine) -> [SessionID] {
        machine.markAllStale()
        _ = machine.nextRead()
        return machine.completed([reading(session, version: version)], existing: [session]).readAfterPause
    }

    @Test("The first snapshot wants a read after a pause, the next ones none: what they are new to is known")
    func pauseAfterSnapshot() {
        let machine = Machine()
        let (first, second) = (machine.subscribe(to: session), machine.subscribe(to: session))
        #expect(machine.begin(first, at: 1))
        #expect(!machine.begin(second, at: 2))
        #expect(machine.nextRead() == nil)
        #expect(!machine.pauseEnded(session))
        #expect(machine.nextRead()?.sessions == [session: 1])
    }

    @Test("News wants a read after a pause; without news there is no other")
    func pauseAfterNews() {
        let (machine, _) = machine(at: 1)
        _ = machine.pauseEnded(session)
        #expect(news(2, machine) == [session])
        #expect(machine.nextRead() == nil)
        #expect(!machine.pauseEnded(session))
        #expect(machine.nextRead()?.sessions == [session: 2])
        #expect(machine.completed([], existing: [session]).readAfterPause == [])
        #expect(news(3, machine) == [session])
    }

    /// The race: news at 0 ms, a transition at 300 ms, the end of the pause at 600 ms, and at 700 ms a percentage, which is
    /// not announced because the transition was 400 ms before it.
    @Test("News during a pause wants another pause after it")
    func newsDuringPause() {
        let (machine, _) = machine(at: 1)
        #expect(news(2, machine) == [], "one pause at a time: there is that of the snapshot")
        #expect(machine.pauseEnded(session))
        _ = machine.nextRead()
        _ = machine.completed([], existing: [session])
        #expect(!machine.pauseEnded(session))
    }

    @Test("The end of a pause of a session that nobody watches any more is nothing")
    func pauseOfForgotten() {
        let (machine, watcher) = machine(at: 1)
        machine.unsubscribe(watcher)
        #expect(!machine.pauseEnded(session))
        #expect(machine.nextRead() == nil)
        #expect(machine.watchedSessions.isEmpty)
    }

    @Test("A session that is no more is told to its watchers, also to one that waits for its snapshot")
    func gone() {
        let (machine, first) = machine(at: 1)
        let second = machine.subscribe(to: session)
        machine.markAllStale()
        _ = machine.nextRead()
        #expect(Set(machine.completed([], existing: []).gone) == [first, second])
    }

    @Test("The last watcher takes its session along; what a read under way says of it is dropped")
    func unsubscribe() {
        let (machine, watcher) = machine(at: 1)
        #expect(machine.watcherCount == 1)
        machine.markAllStale()
        _ = machine.nextRead()
        machine.unsubscribe(watcher)
        machine.unsubscribe(watcher)
        #expect(machine.watcherCount == 0)
        #expect(machine.watchedSessions.isEmpty)
        let outcome = machine.completed([reading(session, version: 2)], existing: [])
        #expect(outcome.deliveries.isEmpty && outcome.gone.isEmpty && outcome.readAfterPause.isEmpty)
    }

    @Test("A reading that nobody asked for is dropped")
    func unaskedReading() {
        let (machine, _) = machine(at: 1)
        let other = SessionID.random()
        let watcher = machine.subscribe(to: other)
        _ = machine.begin(watcher, at: 1)
        _ = machine.hint(session, version: 2)
        _ = machine.nextRead()
        let outcome = machine.completed([reading(other, version: 9)], existing: [session, other])
        #expect(outcome.deliveries.isEmpty)
        _ = machine.completed([reading(session, version: 9)], existing: [session])
        #expect(machine.hint(other, version: 2), "not known at 9 because of it")
    }

    @Test("A read has its limit, and the next one takes the rest")
    func readLimit() {
        let machine = Machine(readLimit: 3)
        let sessions = Set((0..<7).map { _ in SessionID.random() })
        for session in sessions { _ = machine.begin(machine.subscribe(to: session), at: 1) }
        machine.markAllStale()
        var sizes: [Int] = []
        var read: Set<SessionID> = []
        while let next = machine.nextRead() {
            sizes.append(next.sessions.count)
            read.formUnion(next.sessions.keys)
            _ = machine.completed([], existing: Set(next.sessions.keys))
        }
        #expect(sizes == [3, 3, 1])
        #expect(read == sessions)
    }
}

/// The machine by reference: `#expect` takes no mutating call.
private final class Machine {
    private var value: HubStateMachine

    init(readLimit: Int = 500) { value = HubStateMachine(readLimit: readLimit) }

    var watchedSessions: [SessionID] { value.watchedSessions }
    var watcherCount: Int { value.watcherCount }
    func subscribe(to session: SessionID) -> HubStateMachine.WatcherID { value.subscribe(to: session) }
    func begin(_ watcher: HubStateMachine.WatcherID, at version: Int64) -> Bool { value.begin(watcher, at: version) }
    func unsubscribe(_ watcher: HubStateMachine.WatcherID) { value.unsubscribe(watcher) }
    func hint(_ session: SessionID, version: Int64) -> Bool { value.hint(session, version: version) }
    func pauseEnded(_ session: SessionID) -> Bool { value.pauseEnded(session) }
    func markAllStale() { value.markAllStale() }
    func nextRead() -> HubStateMachine.Read? { value.nextRead() }
    func failed() { value.failed() }
    func completed(_ readings: [SessionReading], existing: Set<SessionID>) -> HubStateMachine.Deliveries {
        value.completed(readings, existing: existing)
    }
}
