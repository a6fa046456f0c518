import Domain
import Testing

@testable import Progress

/// Local subscribers need no right, always have room, and begin with the present state.
@Suite("Local subscriber") struct LocalSubscriberTests {
    private let session = SessionID.random()
    private let machine = Machine()

    /// The versions that local subscribers get.
    private func versions(_ outcome: Machine.Outcome) -> [WatcherID: Int64] {
        Dictionary(uniqueKeysWithValues: outcome.updates.map { ($0.subscriber, $0.progress.version) })
    }

    @Test("It gets the present state and each newer one, once")
    func states() {
        let subscriber = machine.subscribeLocally(to: session)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [0]))
        #expect(versions(machine.completed([reading(session, version: 4, transitions: [1, 2, 4])])) == [subscriber: 4])
        #expect(versions(machine.pass(reading(session, version: 5))) == [subscriber: 5])
        machine.resync()
        machine.nextReading()
        #expect(versions(machine.completed([reading(session, version: 5)])) == [:])
    }

    @Test("It gets a state that watchers with sockets already have, and they do not get it again")
    func besideWatchers() {
        let watcher = machine.watcher(of: session, at: 3)
        let subscriber = machine.subscribeLocally(to: session)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [0]))
        let outcome = machine.completed([reading(session, version: 3, transitions: [1, 2, 3])])
        #expect(outcome.deliveries == [])
        #expect(versions(outcome) == [subscriber: 3])
        #expect(
            machine.pass(reading(session, version: 4)).deliveries == [
                news(session, 4, to: [watcher], previousVersion: 3)
            ])
    }

    /// The race: the reading under way looks for versions after 3, and therefore does not find version 3.
    @Test("A reading that began before it does not count as the one that it waits for")
    func readingUnderWay() {
        _ = machine.watcher(of: session, at: 3)
        machine.hint(session, 4)
        machine.nextReading()
        let subscriber = machine.subscribeLocally(to: session)
        #expect(versions(machine.completed([reading(session, version: 4)])) == [:])
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [0]))
        #expect(versions(machine.completed([reading(session, version: 4)])) == [subscriber: 4])
        #expect(machine.nextReading() == nil)
    }

    @Test("A second one gets the present state, and the first gets nothing new")
    func second() {
        _ = machine.subscribeLocally(to: session)
        machine.nextReading()
        machine.completed([reading(session, version: 2)])
        let second = machine.subscribeLocally(to: session)
        #expect(machine.nextReading() == SessionRead(sessions: [session], versions: [0]))
        #expect(versions(machine.completed([reading(session, version: 2)])) == [second: 2])
    }

    @Test("It ends when its session is deleted")
    func missing() {
        let subscriber = machine.subscribeLocally(to: session)
        machine.nextReading()
        let outcome = machine.completed(missing: [session])
        #expect(outcome.finished == [subscriber])
        #expect(outcome.deliveries == [])
        machine.release(subscriber)
        #expect(machine.value.watchedSessions == [])
    }

    @Test("A poll does not end it, but the reading that follows does")
    func missingInPoll() {
        let subscriber = machine.subscribeLocally(to: session)
        machine.nextReading()
        machine.completed([reading(session, version: 1)])
        machine.poll()
        machine.nextReading(.poll)
        #expect(machine.completed(missing: [session], .poll).finished == [])
        #expect(machine.nextReading()?.sessions == [session])
        #expect(machine.completed(missing: [session]).finished == [subscriber])
    }

    /// The race: the session is created after the database snapshot of a reading, and a local subscriber begins before its end.
    @Test("A reading that began before it does not end it", arguments: SessionReads.Lane.allCases)
    func missingBeforeCreated(lane: SessionReads.Lane) {
        _ = machine.register(session)
        machine.resync()
        machine.poll()
        machine.settle(lane == .poll ? .hints : .poll)
        if lane == .poll { machine.poll() } else { machine.resync() }
        machine.nextReading(lane)
        let subscriber = machine.subscribeLocally(to: session)
        #expect(machine.completed(missing: [session], lane).finished == [])
        #expect(machine.nextReading()?.sessions == [session])
        #expect(versions(machine.completed([reading(session, version: 1)])) == [subscriber: 1])
    }

    @Test("After it leaves, nothing watches its session")
    func leaves() {
        let subscriber = machine.subscribeLocally(to: session)
        machine.release(subscriber)
        #expect(machine.nextReading() == nil)
        #expect(machine.value.watchedSessions == [])
        #expect(!machine.value.isLocal(subscriber))
    }
}
