import Domain
import Testing

@testable import Progress

/// A watcher whose socket has no room gets nothing.
///
/// Later it gets the newest state and every transition before it.
@Suite("Catch-ups") struct CatchUpTests {
    private let session = SessionID.random()
    private let machine = Machine()

    /// Sends news of a version to a watcher, whose socket does not take the whole message.
    private func pass(_ version: Int64, _ exception: DeliveryException, _ watcher: WatcherID) throws {
        let deliveries = machine.pass(reading(session, version: version, transitions: [version])).deliveries
        let delivery = try #require(deliveries.first { $0.watchers.contains(watcher) })
        machine.note(exception, of: watcher, in: delivery)
    }

    @Test("A watcher gets nothing before it has a socket, and then everything that it missed")
    func unattached() {
        let watcher = machine.unattached(of: session)
        #expect(machine.pass(reading(session, version: 2, transitions: [2])).deliveries == [])
        #expect(machine.pass(reading(session, version: 3, transitions: [3])).deliveries == [])
        #expect(machine.nextCatchUp() == nil)
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.map(\.version) == [1])
        let deliveries = machine.completedCatchUp([reading(session, version: 3, transitions: [2, 3])])
        #expect(deliveries == [news(session, 3, after: [2], to: [watcher], previousVersion: 1)])
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("A watcher that has missed nothing needs no catch-up")
    func nothingMissed() {
        let watcher = machine.unattached(of: session)
        #expect(machine.ready(watcher) == nil)
        #expect(machine.nextCatchUp() == nil)
        #expect(machine.ready(watcher) == nil)
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("A partly written message counts as sent, and the catch-up begins after it")
    func full() throws {
        let watcher = machine.watcher(of: session)
        try pass(2, .full, watcher)
        #expect(machine.pass(reading(session, version: 3)).deliveries == [])
        #expect(machine.nextCatchUp() == nil, "it has no room")
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.map(\.version) == [2])
        let deliveries = machine.completedCatchUp([reading(session, version: 3, transitions: [3])])
        #expect(deliveries == [news(session, 3, to: [watcher], previousVersion: 2)])
    }

    @Test("A blocked watcher that misses nothing needs no catch-up")
    func fullAndNoNews() throws {
        let watcher = machine.watcher(of: session)
        try pass(2, .full, watcher)
        machine.ready(watcher)
        #expect(machine.nextCatchUp() == nil)
        #expect(
            machine.pass(reading(session, version: 3)).deliveries == [
                news(session, 3, to: [watcher], previousVersion: 2)
            ])
    }

    @Test("A refused message does not count as sent")
    func refused() throws {
        let watcher = machine.watcher(of: session)
        try pass(2, .refused, watcher)
        #expect(machine.nextCatchUp() == nil)
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.map(\.version) == [1])
        let deliveries = machine.completedCatchUp([reading(session, version: 2, transitions: [2])])
        #expect(deliveries == [news(session, 2, to: [watcher], previousVersion: 1)])
    }

    @Test("A blocked watcher does not delay the others")
    func others() throws {
        let (first, second) = (machine.watcher(of: session), machine.watcher(of: session))
        try pass(2, .refused, first)
        #expect(
            machine.pass(reading(session, version: 3, transitions: [3])).deliveries
                == [news(session, 3, to: [second], previousVersion: 2)])
    }

    @Test("A watcher with a closed socket is removed")
    func gone() throws {
        let watcher = machine.watcher(of: session)
        try pass(2, .gone, watcher)
        #expect(machine.value.watchedSessions.isEmpty)
        #expect(machine.ready(watcher) == nil)
    }

    // MARK: - During a catch-up

    /// A watcher at version 1 that has missed something.
    ///
    /// Its catch-up is under way.
    private func caughtUp() throws -> WatcherID {
        let watcher = machine.watcher(of: session)
        try pass(2, .refused, watcher)
        machine.ready(watcher)
        let request = try #require(machine.nextCatchUp()?.first)
        #expect(request.watcher == watcher)
        return watcher
    }

    @Test("One catch-up is under way at a time")
    func singleFlight() throws {
        _ = try caughtUp()
        let other = machine.watcher(of: session, at: 1)
        #expect(machine.nextCatchUp() == nil)
        _ = machine.completedCatchUp([reading(session, version: 2)])
        #expect(machine.nextCatchUp()?.map(\.watcher) == [other])
    }

    @Test("A watcher that blocks during its catch-up needs another one")
    func blockedMeanwhile() throws {
        let watcher = try caughtUp()
        machine.note(.full, of: watcher, in: Delivery(.degraded, to: [watcher]))
        #expect(machine.completedCatchUp([reading(session, version: 2)]) == [])
        #expect(machine.nextCatchUp() == nil)
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.map(\.version) == [1])
    }

    @Test("A watcher that blocks and has room again during its catch-up gets the answer")
    func blockedAndBack() throws {
        let watcher = try caughtUp()
        machine.note(.full, of: watcher, in: Delivery(.degraded, to: [watcher]))
        machine.ready(watcher)
        #expect(
            machine.completedCatchUp([reading(session, version: 2)])
                == [news(session, 2, to: [watcher], previousVersion: 1)])
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("News during a catch-up causes another one")
    func newsMeanwhile() throws {
        let watcher = try caughtUp()
        #expect(machine.pass(reading(session, version: 4, transitions: [3, 4])).deliveries == [])
        #expect(
            machine.completedCatchUp([reading(session, version: 2)])
                == [news(session, 2, to: [watcher], previousVersion: 1)])
        #expect(machine.nextCatchUp()?.map(\.version) == [2])
        #expect(
            machine.completedCatchUp([reading(session, version: 4, transitions: [3, 4])])
                == [news(session, 4, after: [3], to: [watcher], previousVersion: 2)])
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("A watcher that refuses the answer needs another catch-up")
    func answerRefused() throws {
        let watcher = try caughtUp()
        let deliveries = machine.completedCatchUp([reading(session, version: 2)])
        machine.note(.refused, of: watcher, in: try #require(deliveries.first))
        #expect(machine.nextCatchUp() == nil)
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.map(\.version) == [1])
    }

    @Test("The hub repeats a failed catch-up")
    func failed() throws {
        let watcher = try caughtUp()
        machine.failedCatchUp()
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
    }

    @Test("The answer is dropped if the watcher has left")
    func leaves() throws {
        let watcher = try caughtUp()
        machine.release(watcher)
        // The next watcher in the slot does not get the answer.
        let next = machine.watcher(of: session, at: 2)
        #expect(next.slot == watcher.slot)
        #expect(machine.completedCatchUp([reading(session, version: 5)]) == [])
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("The answer is dropped if the watcher has got its last message")
    func endsMeanwhile() throws {
        let watcher = try caughtUp()
        #expect(machine.end(watcher))
        #expect(machine.completedCatchUp([reading(session, version: 5)]) == [])
        #expect(machine.completedCatchUp([nil]) == [])
    }

    @Test("A catch-up that finds less than the hub knows is repeated")
    func nothingNew() throws {
        let watcher = try caughtUp()
        #expect(machine.completedCatchUp([reading(session, version: 1)]).isEmpty)
        // The watcher has missed version 2, and the database answers with version 1: the hub reads again.
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        #expect(
            machine.completedCatchUp([reading(session, version: 2)]) == [
                news(session, 2, to: [watcher], previousVersion: 1)
            ])
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("A catch-up has a limit, and the next one reads for the rest, in order")
    func limit() {
        let machine = Machine(readLimit: 2)
        let watchers = (0..<5).map { _ in machine.unattached(of: session) }
        machine.pass(reading(session, version: 2))
        for watcher in watchers { machine.ready(watcher) }
        var asked: [[WatcherID]] = []
        while let requests = machine.nextCatchUp() {
            asked.append(requests.map(\.watcher))
            let deliveries = machine.completedCatchUp(requests.map { _ in reading(session, version: 2) })
            #expect(deliveries.flatMap(\.watchers) == requests.map(\.watcher))
        }
        #expect(asked == [Array(watchers[0..<2]), Array(watchers[2..<4]), [watchers[4]]])
    }

    // MARK: - The last message

    @Test("No message follows the last one, and the slot is used until the socket is closed")
    func last() {
        let watcher = machine.watcher(of: session)
        #expect(machine.end(watcher))
        #expect(!machine.end(watcher))
        machine.hint(session, 2)
        #expect(machine.nextReading() == nil)
        #expect(machine.degraded() == nil)
        #expect(machine.ready(watcher) == nil)
        let other = machine.watcher(of: session)
        #expect(other.slot != watcher.slot)
        machine.release(watcher)
        let next = machine.watcher(of: session)
        #expect(next.slot == watcher.slot)
        #expect(next.generation == watcher.generation + 1)
    }

    @Test("A watcher without a socket cannot get its last message")
    func lastWithoutSocket() {
        let (pending, begun) = (machine.register(session), machine.unattached(of: session))
        #expect(!machine.end(pending))
        #expect(!machine.end(begun))
        #expect(!machine.isAttached(begun))
        machine.ready(begun)
        #expect(machine.isAttached(begun))
        #expect(machine.end(begun))
    }
}
