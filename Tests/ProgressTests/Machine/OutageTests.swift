import Domain
import Testing

@testable import Progress

/// Each watcher gets `degraded` once, then `recovered` once: at once if it has room, and otherwise when it has room again.
@Suite("Outage of the database") struct OutageTests {
    private let session = SessionID.random()
    private let machine = Machine()

    @Test("Every watcher gets degraded once and recovered once")
    func once() {
        let (first, second) = (machine.watcher(of: session), machine.watcher(of: .random()))
        #expect(machine.recovered() == nil)
        #expect(machine.degraded() == Delivery(.degraded, to: [first, second]))
        #expect(machine.degraded() == nil)
        #expect(machine.recovered() == Delivery(.recovered, to: [first, second]))
        #expect(machine.recovered() == nil)
        #expect(
            machine.degraded() == Delivery(.degraded, to: [first, second]), "the next outage has messages of its own")
    }

    @Test("Watchers without a socket, watchers after their last message and local subscribers get neither message")
    func others() {
        _ = machine.register(session)
        _ = machine.unattached(of: session)
        _ = machine.subscribeLocally(to: session)
        machine.end(machine.watcher(of: session))
        #expect(machine.degraded() == nil)
        #expect(machine.value.isDegraded)
        #expect(machine.recovered() == nil)
        #expect(!machine.value.isDegraded)
    }

    @Test("A watcher that gets its socket in an outage gets degraded then, and recovered with the others")
    func newcomer() {
        let (first, second) = (machine.watcher(of: session), machine.unattached(of: session))
        #expect(machine.degraded() == Delivery(.degraded, to: [first]))
        #expect(machine.ready(second) == Delivery(.degraded, to: [second]))
        #expect(machine.ready(second) == nil)
        #expect(machine.recovered() == Delivery(.recovered, to: [first, second]))
    }

    /// Blocks a watcher.
    private func block(_ watcher: WatcherID) {
        machine.note(.full, of: watcher, in: Delivery(.recovered, to: [watcher]))
    }

    @Test("A watcher that is blocked when the outage begins gets degraded when it has room")
    func blockedAtTheBeginning() {
        let watcher = machine.watcher(of: session)
        block(watcher)
        #expect(machine.degraded() == nil)
        #expect(machine.ready(watcher) == Delivery(.degraded, to: [watcher]))
        #expect(machine.recovered() == Delivery(.recovered, to: [watcher]))
    }

    @Test("A watcher that is blocked when the outage ends gets recovered when it has room")
    func blockedAtTheEnd() {
        let watcher = machine.watcher(of: session)
        _ = machine.degraded()
        block(watcher)
        #expect(machine.recovered() == nil)
        #expect(!machine.value.isDegraded)
        #expect(machine.ready(watcher) == Delivery(.recovered, to: [watcher]))
        #expect(machine.ready(watcher) == nil)
    }

    @Test("A watcher that is blocked during the whole outage gets neither message")
    func blockedThroughout() {
        let watcher = machine.watcher(of: session)
        block(watcher)
        #expect(machine.degraded() == nil)
        #expect(machine.recovered() == nil)
        #expect(machine.ready(watcher) == nil)
    }

    @Test("A watcher that is blocked from one outage to the next gets degraded once")
    func blockedUntilTheNext() {
        let watcher = machine.watcher(of: session)
        _ = machine.degraded()
        block(watcher)
        #expect(machine.recovered() == nil)
        #expect(machine.degraded() == nil)
        #expect(machine.ready(watcher) == nil)
        #expect(machine.recovered() == Delivery(.recovered, to: [watcher]))
    }

    @Test("A watcher gets a refused message when it has room", arguments: [WatcherMessage.degraded, .recovered])
    func refused(message: WatcherMessage) throws {
        let watcher = machine.watcher(of: session)
        var delivery = try #require(machine.degraded())
        if message == .recovered { delivery = try #require(machine.recovered()) }
        #expect(delivery.message == message)
        machine.note(.refused, of: watcher, in: delivery)
        #expect(machine.ready(watcher) == Delivery(message, to: [watcher]))
        #expect(machine.ready(watcher) == nil)
    }

    @Test("A watcher does not get a refused message that is no longer true")
    func refusedAndOver() throws {
        let watcher = machine.watcher(of: session)
        machine.note(.refused, of: watcher, in: try #require(machine.degraded()))
        #expect(machine.recovered() == nil)
        #expect(machine.ready(watcher) == nil)
    }

    @Test("Any successful read ends the outage, and recovered comes before what it finds")
    func recoveryByReading() throws {
        let watcher = machine.watcher(of: session)
        let recovered = Delivery(.recovered, to: [watcher])
        _ = machine.degraded()
        let outcome = machine.pass(reading(session, version: 2))
        #expect(outcome.deliveries == [recovered, news(session, 2, to: [watcher], previousVersion: 1)])

        machine.note(.refused, of: watcher, in: try #require(outcome.deliveries.last))
        machine.ready(watcher)
        _ = machine.degraded()
        #expect(machine.nextCatchUp()?.count == 1)
        #expect(
            machine.completedCatchUp([reading(session, version: 3)])
                == [recovered, news(session, 3, to: [watcher], previousVersion: 1)])

        machine.checkRights(share: 1)
        #expect(machine.nextSweep()?.count == 1)
        _ = machine.degraded()
        #expect(
            machine.completedSweep(lost: [0])
                == [recovered, Delivery(.revoked(session), to: [watcher])])
    }

    // MARK: - The next attempt

    /// A read fails.
    private func fail(_ jitter: Double) {
        machine.run {
            $0.failed(
                .poll(hintsSince: nil, rightsSince: nil), FakeReader.Down(), isCancelled: false, jitter: jitter, at: $1)
        }
    }

    /// The time for which reads wait.
    private var delay: Duration? { machine.value.watchers.outage.retryAt.map { $0 - machine.now } }

    @Test("The delay before the next attempt doubles up to two seconds, and a successful read resets it")
    func backoff() {
        var delays: [Duration] = []
        for _ in 0..<7 {
            fail(1)
            delays.append(delay ?? .zero)
            machine.advance(by: delay ?? .zero)
            #expect(delay == nil)
        }
        #expect(delays == [100, 200, 400, 800, 1600, 2000, 2000].map { .milliseconds($0) })
        _ = machine.recovered()
        fail(0.5)
        #expect(delay == .milliseconds(50))
    }

    @Test("During the delay only the poll and subscriptions read, and another failure does not extend it")
    func reads() {
        let watcher = machine.watcher(of: session)
        fail(1)
        fail(1)
        #expect(delay == .milliseconds(99))
        _ = machine.register(.random())
        machine.hint(session, 2)
        machine.note(.refused, of: watcher, in: news(session, 1, to: [watcher], previousVersion: 0))
        machine.ready(watcher)
        machine.checkRights(share: 1)
        #expect(machine.nextReading() == nil)
        #expect(machine.nextCatchUp() == nil)
        #expect(machine.nextSweep() == nil)
        machine.advance(by: .milliseconds(100))
        #expect(machine.nextReading()?.sessions == [session])
        #expect(machine.nextCatchUp()?.count == 1)
        #expect(machine.nextSweep()?.count == 1)
    }
}
