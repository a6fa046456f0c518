import Domain
import Testing

@testable import Progress

/// A watcher whose socket has no room gets nothing, and afterwards what is newest, with every transition between.
@Suite("A watcher without room") struct CatchUpTests {
    private let session = SessionID.random()
    private let machine = Machine()

    /// Passes news of a version on to a watcher, who makes an exception of it.
    private func pass(_ version: Int64, _ exception: DeliveryException, _ watcher: WatcherID) throws {
        let deliveries = machine.pass(reading(session, version: version, transitions: [version])).deliveries
        let delivery = try #require(deliveries.first { $0.watchers.contains(watcher) })
        machine.note(exception, of: watcher, in: delivery)
    }

    @Test("Before it has a socket it is given nothing; then it is caught up with what it missed")
    func unattached() {
        let watcher = machine.unattached(of: session)
        #expect(machine.pass(reading(session, version: 2, transitions: [2])).deliveries == [])
        #expect(machine.pass(reading(session, version: 3, transitions: [3])).deliveries == [])
        #expect(machine.nextCatchUp() == nil)
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.map(\.version) == [1])
        let deliveries = machine.completedCatchUp([reading(session, version: 3, transitions: [2, 3])])
        #expect(deliveries == [news(session, 3, after: [2], to: [watcher], previous: 1)])
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("Without anything missed it is not caught up")
    func nothingMissed() {
        let watcher = machine.unattached(of: session)
        #expect(machine.ready(watcher) == nil)
        #expect(machine.nextCatchUp() == nil)
        #expect(machine.ready(watcher) == nil)
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("What is on its way is previous: what comes meanwhile is caught up with from there")
    func full() throws {
        let watcher = machine.watcher(of: session)
        try pass(2, .full, watcher)
        #expect(machine.pass(reading(session, version: 3)).deliveries == [])
        #expect(machine.nextCatchUp() == nil, "it has no room")
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.map(\.version) == [2])
        let deliveries = machine.completedCatchUp([reading(session, version: 3, transitions: [3])])
        #expect(deliveries == [news(session, 3, to: [watcher], previous: 2)])
    }

    @Test("When nothing came meanwhile, it goes on")
    func fullAndNoNews() throws {
        let watcher = machine.watcher(of: session)
        try pass(2, .full, watcher)
        machine.ready(watcher)
        #expect(machine.nextCatchUp() == nil)
        #expect(
            machine.pass(reading(session, version: 3)).deliveries == [news(session, 3, to: [watcher], previous: 2)])
    }

    @Test("What was refused was not previous: it is caught up with")
    func refused() throws {
        let watcher = machine.watcher(of: session)
        try pass(2, .refused, watcher)
        #expect(machine.nextCatchUp() == nil)
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.map(\.version) == [1])
        let deliveries = machine.completedCatchUp([reading(session, version: 2, transitions: [2])])
        #expect(deliveries == [news(session, 2, to: [watcher], previous: 1)])
    }

    @Test("One that has no room does not keep the others waiting")
    func others() throws {
        let (first, second) = (machine.watcher(of: session), machine.watcher(of: session))
        try pass(2, .refused, first)
        #expect(
            machine.pass(reading(session, version: 3, transitions: [3])).deliveries
                == [news(session, 3, to: [second], previous: 2)])
    }

    @Test("A watcher whose socket is gone is forgotten")
    func gone() throws {
        let watcher = machine.watcher(of: session)
        try pass(2, .gone, watcher)
        #expect(machine.value.watchedSessions.isEmpty)
        #expect(machine.ready(watcher) == nil)
    }

    // MARK: - While the catch-up is under way

    /// A watcher who is behind at version 1, and whose catch-up is under way.
    private func caughtUp() throws -> WatcherID {
        let watcher = machine.watcher(of: session)
        try pass(2, .refused, watcher)
        machine.ready(watcher)
        let request = try #require(machine.nextCatchUp()?.first)
        #expect(request.watcher == watcher)
        return watcher
    }

    @Test("One catch-up at a time")
    func singleFlight() throws {
        _ = try caughtUp()
        let other = machine.watcher(of: session, at: 1)
        #expect(machine.nextCatchUp() == nil)
        _ = machine.completedCatchUp([reading(session, version: 2)])
        #expect(machine.nextCatchUp()?.map(\.watcher) == [other])
    }

    @Test("Its room ends: the answer is not for it, and another catch-up follows when there is room")
    func blockedMeanwhile() throws {
        let watcher = try caughtUp()
        machine.note(.full, of: watcher, in: Delivery(.degraded, to: [watcher]))
        #expect(machine.completedCatchUp([reading(session, version: 2)]) == [])
        #expect(machine.nextCatchUp() == nil)
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.map(\.version) == [1])
    }

    @Test("Its room ends and comes back: the answer is for it, and no other is wanted")
    func blockedAndBack() throws {
        let watcher = try caughtUp()
        machine.note(.full, of: watcher, in: Delivery(.degraded, to: [watcher]))
        machine.ready(watcher)
        #expect(
            machine.completedCatchUp([reading(session, version: 2)])
                == [news(session, 2, to: [watcher], previous: 1)])
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("What is newer goes past it, and is caught up with next")
    func newsMeanwhile() throws {
        let watcher = try caughtUp()
        #expect(machine.pass(reading(session, version: 4, transitions: [3, 4])).deliveries == [])
        #expect(
            machine.completedCatchUp([reading(session, version: 2)])
                == [news(session, 2, to: [watcher], previous: 1)])
        #expect(machine.nextCatchUp()?.map(\.version) == [2])
        #expect(
            machine.completedCatchUp([reading(session, version: 4, transitions: [3, 4])])
                == [news(session, 4, after: [3], to: [watcher], previous: 2)])
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("The answer is refused: it is caught up with again")
    func answerRefused() throws {
        let watcher = try caughtUp()
        let deliveries = machine.completedCatchUp([reading(session, version: 2)])
        machine.note(.refused, of: watcher, in: try #require(deliveries.first))
        #expect(machine.nextCatchUp() == nil)
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.map(\.version) == [1])
    }

    @Test("It fails, and is made again")
    func failed() throws {
        let watcher = try caughtUp()
        machine.failedCatchUp()
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
    }

    @Test("It leaves: the answer is for nobody")
    func leaves() throws {
        let watcher = try caughtUp()
        machine.release(watcher)
        // Whoever has the place now has nothing to do with it.
        let next = machine.watcher(of: session, at: 2)
        #expect(next.slot == watcher.slot)
        #expect(machine.completedCatchUp([reading(session, version: 5)]) == [])
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("It is told its last: the answer is for nobody")
    func endsMeanwhile() throws {
        let watcher = try caughtUp()
        #expect(machine.end(watcher))
        #expect(machine.completedCatchUp([reading(session, version: 5)]) == [])
        #expect(machine.completedCatchUp([nil]) == [])
    }

    @Test("A catch-up that finds nothing new ends the matter")
    func nothingNew() throws {
        let watcher = try caughtUp()
        #expect(machine.completedCatchUp([reading(session, version: 1)]).isEmpty)
        // Version 2 has gone past it, so a database that says 1 is asked again.
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        #expect(
            machine.completedCatchUp([reading(session, version: 2)]) == [news(session, 2, to: [watcher], previous: 1)])
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("A catch-up has its limit, and the next one takes the rest, in order")
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

    @Test("After the last message there is no other, and the place stays taken until the socket is gone")
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

    @Test("Who has no socket cannot be told its last")
    func lastWithoutSocket() {
        let (opening, begun) = (machine.register(session), machine.unattached(of: session))
        #expect(!machine.end(opening))
        #expect(!machine.end(begun))
        #expect(!machine.isAttached(begun))
        machine.ready(begun)
        #expect(machine.isAttached(begun))
        #expect(machine.end(begun))
    }
}
