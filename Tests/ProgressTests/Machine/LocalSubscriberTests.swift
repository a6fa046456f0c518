import Domain
import Testing

@testable import Progress

/// Watchers within the program: no right limits them, they have always room, and begin with the state as it stands.
@Suite("A watcher within the program") struct LocalSubscriberTests {
    private let session = SessionID.random()
    private let machine = Machine()

    /// What the outcome of a reading gives to whom.
    private func given(_ outcome: Machine.Outcome) -> [WatcherID: Int64] {
        Dictionary(uniqueKeysWithValues: outcome.updates.map { ($0.subscriber, $0.progress.version) })
    }

    @Test("It is given the state as it stands, and each that is newer, once")
    func states() {
        let listener = machine.subscribeLocally(to: session)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [0]))
        #expect(given(machine.completed([reading(session, version: 4, transitions: [1, 2, 4])])) == [listener: 4])
        #expect(given(machine.pass(reading(session, version: 5))) == [listener: 5])
        machine.resync()
        machine.nextReading()
        #expect(given(machine.completed([reading(session, version: 5)])) == [:])
    }

    @Test("It gets what watchers with sockets have already, who are not told twice")
    func besideWatchers() {
        let watcher = machine.watcher(of: session, at: 3)
        let listener = machine.subscribeLocally(to: session)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [0]))
        let outcome = machine.completed([reading(session, version: 3, transitions: [1, 2, 3])])
        #expect(outcome.deliveries == [])
        #expect(given(outcome) == [listener: 3])
        #expect(
            machine.pass(reading(session, version: 4)).deliveries == [news(session, 4, to: [watcher], previous: 3)])
    }

    /// The race: the reading under way asked for what is newer than 3, so it says nothing of a session that stands at 3.
    @Test("A reading from before it began does not stand for the one that it waits for")
    func readingUnderWay() {
        _ = machine.watcher(of: session, at: 3)
        machine.hint(session, 4)
        machine.nextReading()
        let listener = machine.subscribeLocally(to: session)
        #expect(given(machine.completed([reading(session, version: 4)])) == [:])
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [0]))
        #expect(given(machine.completed([reading(session, version: 4)])) == [listener: 4])
        #expect(machine.nextReading() == nil)
    }

    @Test("A second one gets the state as well, the first nothing new")
    func second() {
        _ = machine.subscribeLocally(to: session)
        machine.nextReading()
        machine.completed([reading(session, version: 2)])
        let second = machine.subscribeLocally(to: session)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [0]))
        #expect(given(machine.completed([reading(session, version: 2)])) == [second: 2])
    }

    @Test("It ends when its session is no more")
    func missing() {
        let listener = machine.subscribeLocally(to: session)
        machine.nextReading()
        let outcome = machine.completed(missing: [session])
        #expect(outcome.finished == [listener])
        #expect(outcome.deliveries == [])
        machine.release(listener)
        #expect(machine.value.watchedSessions == [])
    }

    @Test("The poll alone does not end it: the reading that it asks for does")
    func missingInPoll() {
        let listener = machine.subscribeLocally(to: session)
        machine.nextReading()
        machine.completed([reading(session, version: 1)])
        machine.poll()
        machine.nextReading(.poll)
        #expect(machine.completed(missing: [session], .poll).finished == [])
        #expect(machine.nextReading()?.sessions == [session])
        #expect(machine.completed(missing: [session]).finished == [listener])
    }

    /// The race: the session is made after the snapshot of a reading that is under way, and then listened to.
    @Test("A reading from before it began does not end it", arguments: SessionReads.Lane.allCases)
    func missingBeforeMade(lane: SessionReads.Lane) {
        _ = machine.register(session)
        machine.resync()
        machine.poll()
        machine.settle(lane == .poll ? .hints : .poll)
        if lane == .poll { machine.poll() } else { machine.resync() }
        machine.nextReading(lane)
        let listener = machine.subscribeLocally(to: session)
        #expect(machine.completed(missing: [session], lane).finished == [])
        #expect(machine.nextReading()?.sessions == [session])
        #expect(given(machine.completed([reading(session, version: 1)])) == [listener: 1])
    }

    @Test("It leaves like everybody else")
    func leaves() {
        let listener = machine.subscribeLocally(to: session)
        machine.release(listener)
        #expect(machine.nextReading() == nil)
        #expect(machine.value.watchedSessions == [])
        #expect(!machine.value.isLocal(listener))
    }
}
