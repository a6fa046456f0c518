import Domain
import Testing

@testable import Progress

/// `degraded` once, then `recovered` once, to everybody who had room for it, and later to those who had not.
@Suite("The hub in trouble") struct TroubleTests {
    private let session = SessionID.random()
    private let machine = Machine()

    @Test("Everybody is told once that reads fail, and once that they work again")
    func once() {
        let (first, second) = (machine.watcher(of: session), machine.watcher(of: .random()))
        #expect(machine.recovered() == nil)
        #expect(machine.degraded() == Delivery(.degraded, to: [first, second]))
        #expect(machine.degraded() == nil)
        #expect(machine.recovered() == Delivery(.recovered, to: [first, second]))
        #expect(machine.recovered() == nil)
        #expect(machine.degraded() == Delivery(.degraded, to: [first, second]), "the next time it is told again")
    }

    @Test("Who waits for a snapshot, has no socket, has been told the last or lives in the program is not told")
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

    @Test("Who gets a socket meanwhile is told then, and of the recovery with the others")
    func newcomer() {
        let (first, second) = (machine.watcher(of: session), machine.unattached(of: session))
        #expect(machine.degraded() == Delivery(.degraded, to: [first]))
        #expect(machine.ready(second) == Delivery(.degraded, to: [second]))
        #expect(machine.ready(second) == nil)
        #expect(machine.recovered() == Delivery(.recovered, to: [first, second]))
    }

    /// Makes a watcher block.
    private func block(_ watcher: WatcherID) {
        machine.note(.full, of: watcher, in: Delivery(.recovered, to: [watcher]))
    }

    @Test("Who was blocked when it began is told when there is room, and of the recovery with the others")
    func blockedAtTheBeginning() {
        let watcher = machine.watcher(of: session)
        block(watcher)
        #expect(machine.degraded() == nil)
        #expect(machine.ready(watcher) == Delivery(.degraded, to: [watcher]))
        #expect(machine.recovered() == Delivery(.recovered, to: [watcher]))
    }

    @Test("Who was blocked when it ended is told when there is room")
    func blockedAtTheEnd() {
        let watcher = machine.watcher(of: session)
        _ = machine.degraded()
        block(watcher)
        #expect(machine.recovered() == nil)
        #expect(!machine.value.isDegraded)
        #expect(machine.ready(watcher) == Delivery(.recovered, to: [watcher]))
        #expect(machine.ready(watcher) == nil)
    }

    @Test("Who was blocked all the time is told nothing")
    func blockedThroughout() {
        let watcher = machine.watcher(of: session)
        block(watcher)
        #expect(machine.degraded() == nil)
        #expect(machine.recovered() == nil)
        #expect(machine.ready(watcher) == nil)
    }

    @Test("Who knows of the trouble, and was blocked until the next, is told nothing new")
    func blockedUntilTheNext() {
        let watcher = machine.watcher(of: session)
        _ = machine.degraded()
        block(watcher)
        #expect(machine.recovered() == nil)
        #expect(machine.degraded() == nil)
        #expect(machine.ready(watcher) == nil)
        #expect(machine.recovered() == Delivery(.recovered, to: [watcher]))
    }

    @Test("What was refused is told when there is room", arguments: [WatcherMessage.degraded, .recovered])
    func refused(message: WatcherMessage) throws {
        let watcher = machine.watcher(of: session)
        var delivery = try #require(machine.degraded())
        if message == .recovered { delivery = try #require(machine.recovered()) }
        #expect(delivery.message == message)
        machine.note(.refused, of: watcher, in: delivery)
        #expect(machine.ready(watcher) == Delivery(message, to: [watcher]))
        #expect(machine.ready(watcher) == nil)
    }

    @Test("What was refused and is no longer true is not told")
    func refusedAndOver() throws {
        let watcher = machine.watcher(of: session)
        machine.note(.refused, of: watcher, in: try #require(machine.degraded()))
        #expect(machine.recovered() == nil)
        #expect(machine.ready(watcher) == nil)
    }

    @Test("Any read that works ends the trouble, which is told before what the read brings")
    func recoveryByReading() throws {
        let watcher = machine.watcher(of: session)
        let recovered = Delivery(.recovered, to: [watcher])
        _ = machine.degraded()
        let outcome = machine.pass(reading(session, version: 2))
        #expect(outcome.deliveries == [recovered, news(session, 2, to: [watcher], previous: 1)])

        machine.note(.refused, of: watcher, in: try #require(outcome.deliveries.last))
        machine.ready(watcher)
        _ = machine.degraded()
        #expect(machine.nextCatchUp()?.count == 1)
        #expect(
            machine.completedCatchUp([reading(session, version: 3)])
                == [recovered, news(session, 3, to: [watcher], previous: 1)])

        machine.checkRights(share: 1)
        #expect(machine.nextSweep()?.count == 1)
        _ = machine.degraded()
        #expect(
            machine.completedSweep(lost: [0], epoch: 1)
                == [recovered, Delivery(.revoked(session), to: [watcher])])
    }

    // MARK: - The next try

    /// A read fails at a moment.
    private func fail(_ jitter: Double) {
        machine.run { $0.failed(.snapshot, FakeReader.Down(), isCutShort: false, jitter: jitter, at: $1) }
    }

    /// How long reads wait now.
    private var delay: Duration? { machine.value.trouble.retryAt.map { $0 - machine.now } }

    @Test("The delay before the next try doubles up to two seconds, and begins anew when a read has worked")
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

    @Test("Until then nothing is read but the snapshot and what callers wait for, and another failure adds nothing")
    func reads() {
        let watcher = machine.watcher(of: session)
        fail(1)
        fail(1)
        #expect(delay == .milliseconds(99))
        _ = machine.register(.random())
        machine.hint(session, 2)
        machine.note(.refused, of: watcher, in: news(session, 1, to: [watcher], previous: 0))
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
