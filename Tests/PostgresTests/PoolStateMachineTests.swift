import Testing

@testable import Postgres

@Suite("The state machine of the pool") struct PoolStateMachineTests {
    private let now = ContinuousClock.now
    private var later: ContinuousClock.Instant { now + .seconds(3600) }

    private func machine(size: Int = 2, waiters: Int = 10) -> PoolStateMachine {
        PoolStateMachine(
            limits: .init(
                size: size, maximumWaiters: waiters, checkAfter: .seconds(30), idleTimeout: .seconds(600)))
    }

    /// A pool of one with an idle connection in slot 1.
    private func withIdle() -> PoolStateMachine {
        var pool = machine(size: 1)
        _ = pool.borrow(1, now: now)
        _ = pool.connectDue(1)
        _ = pool.connected(1, expires: later, now: now)
        _ = pool.released(1, isReusable: true, now: now)
        return pool
    }

    @Test("Connections are opened on demand, and never more than the size")
    func size() {
        var pool = machine(size: 2)
        #expect(pool.borrow(1, now: now) == [.connect(1, after: .zero)])
        #expect(pool.borrow(2, now: now) == [.connect(2, after: .zero)])
        #expect(pool.borrow(3, now: now) == [])
        #expect(pool.totalCount == 2)
        let isWanted = [pool.connectDue(1), pool.connectDue(2)]
        #expect(isWanted == [true, true])
        #expect(pool.connected(1, expires: later, now: now) == [.grant(1, 1, needsCheck: false)])
        #expect(pool.released(1, isReusable: true, now: now) == [.grant(2, 1, needsCheck: false)])
        #expect(pool.connected(2, expires: later, now: now) == [.grant(3, 2, needsCheck: false)])
        #expect(pool.lentCount == 2)
        #expect(pool.waitingCount == 0)
    }

    @Test("The most recently used connection is lent first, and checked after a long rest")
    func mostRecent() {
        var pool = withIdle()
        #expect(pool.borrow(2, now: now + .seconds(29)) == [.grant(2, 1, needsCheck: false)])
        _ = pool.released(1, isReusable: true, now: now)
        #expect(pool.borrow(3, now: now + .seconds(30)) == [.grant(3, 1, needsCheck: true)])
    }

    @Test("Waiters are served in order, and those that left are skipped")
    func order() {
        var pool = machine(size: 1)
        for waiter in 1...4 { _ = pool.borrow(waiter, now: now) }
        let left = [pool.leave(2), pool.leave(2)]
        #expect(left == [true, false])
        _ = pool.connectDue(1)
        #expect(pool.connected(1, expires: later, now: now) == [.grant(1, 1, needsCheck: false)])
        #expect(pool.released(1, isReusable: true, now: now) == [.grant(3, 1, needsCheck: false)])
        #expect(pool.waitingCount == 1)
    }

    @Test("One waiter too many is refused at once")
    func tooManyWaiters() {
        var pool = machine(size: 1, waiters: 2)
        _ = pool.borrow(1, now: now)
        _ = pool.borrow(2, now: now)
        #expect(pool.borrow(3, now: now) == [.refuse(3, .tooManyWaiters)])
    }

    @Test("A connection that cannot be reused is closed and replaced")
    func notReusable() {
        var pool = machine(size: 1)
        _ = pool.borrow(1, now: now)
        _ = pool.connectDue(1)
        _ = pool.connected(1, expires: later, now: now)
        _ = pool.borrow(2, now: now)
        #expect(pool.released(1, isReusable: false, now: now) == [.close(1)])
        #expect(pool.totalCount == 1, "a connection counts until it is closed")
        #expect(pool.closed(1) == [.connect(2, after: .zero)])
    }

    @Test("An old connection is not lent again")
    func oldConnection() {
        var pool = withIdle()
        #expect(pool.borrow(2, now: later) == [.close(1)])
        #expect(pool.closed(1) == [.connect(2, after: .zero)])
        var lent = withIdle()
        _ = lent.borrow(2, now: now)
        #expect(lent.released(1, isReusable: true, now: later) == [.close(1)])
    }

    @Test("An unused connection is closed after a while")
    func unused() {
        var pool = withIdle()
        #expect(pool.tick(now: now + .seconds(599)) == [])
        #expect(pool.tick(now: now + .seconds(600)) == [.close(1)])
        #expect(pool.idleCount == 0)
        #expect(pool.closed(1) == [])
        #expect(pool.totalCount == 0)
    }

    @Test("An idle connection that the server closed is not lent")
    func closedByServer() {
        var pool = withIdle()
        #expect(pool.closed(1) == [])
        #expect(pool.borrow(2, now: now) == [.connect(2, after: .zero)])
    }

    @Test("While connecting fails, the pool makes one attempt at a time, with growing pauses")
    func growingPauses() {
        var pool = machine(size: 4)
        for waiter in 1...4 { _ = pool.borrow(waiter, now: now) }
        for slot in 1...4 { #expect(pool.connectDue(slot) == true) }
        for slot in 1...3 { #expect(pool.connectFailed(slot, isPermanent: false, jitter: 1) == []) }
        #expect(pool.connectFailed(4, isPermanent: false, jitter: 1) == [.connect(5, after: .milliseconds(400))])
        var pauses: [Duration] = []
        for slot in 5...9 {
            #expect(pool.connectDue(slot) == true)
            if case .connect(_, let pause)? = pool.connectFailed(slot, isPermanent: false, jitter: 1).first {
                pauses.append(pause)
            }
        }
        #expect(pauses == [.milliseconds(800), .seconds(1), .seconds(1), .seconds(1), .seconds(1)])
    }

    @Test("After a success the pool opens a connection for each waiter again")
    func afterSuccess() {
        var pool = machine(size: 3)
        for waiter in 1...3 { _ = pool.borrow(waiter, now: now) }
        for slot in 1...3 { _ = pool.connectDue(slot) }
        for slot in 1...3 { _ = pool.connectFailed(slot, isPermanent: false, jitter: 1) }
        #expect(pool.connectDue(4) == true)
        #expect(
            pool.connected(4, expires: later, now: now)
                == [.grant(1, 4, needsCheck: false), .connect(5, after: .zero), .connect(6, after: .zero)])
    }

    @Test("An attempt without a waiter is not made")
    func unwantedAttempt() {
        var pool = machine(size: 1)
        _ = pool.borrow(1, now: now)
        _ = pool.leave(1)
        let isWanted = pool.connectDue(1)
        #expect(!isWanted)
        #expect(pool.totalCount == 0)
        #expect(pool.borrow(2, now: now) == [.connect(2, after: .zero)])
    }

    @Test("If the server refuses the pool for good, all waiters fail")
    func permanentFailure() {
        var pool = machine(size: 1)
        _ = pool.borrow(1, now: now)
        _ = pool.borrow(2, now: now)
        _ = pool.connectDue(1)
        #expect(
            pool.connectFailed(1, isPermanent: true, jitter: 1)
                == [.refuse(1, .cannotConnect), .refuse(2, .cannotConnect)])
    }

    @Test("A caller that gives up is refused by the first failure, and the others wait for the next attempt")
    func givesUp() {
        var pool = machine(size: 1)
        _ = pool.borrow(1, now: now)
        _ = pool.borrow(2, givesUp: true, now: now)
        _ = pool.connectDue(1)
        #expect(
            pool.connectFailed(1, isPermanent: false, jitter: 1)
                == [.refuse(2, .cannotConnect), .connect(2, after: .milliseconds(50))])
        // The pause before the next attempt: the last one has just failed.
        #expect(pool.borrow(3, givesUp: true, now: now) == [.refuse(3, .cannotConnect)])
        // The next attempt is under way: its result counts.
        _ = pool.connectDue(2)
        #expect(pool.borrow(4, givesUp: true, now: now) == [])
        #expect(pool.connected(2, expires: later, now: now) == [.grant(1, 2, needsCheck: false)])
        #expect(pool.released(2, isReusable: true, now: now) == [.grant(4, 2, needsCheck: false)])
        #expect(pool.waitingCount == 0)
    }

    @Test("Without other waiters, a caller that gives up makes an attempt of its own")
    func givesUpAlone() {
        var pool = machine(size: 1)
        #expect(pool.borrow(1, givesUp: true, now: now) == [.connect(1, after: .zero)])
        _ = pool.connectDue(1)
        #expect(pool.connectFailed(1, isPermanent: false, jitter: 1) == [.refuse(1, .cannotConnect)])
        #expect(pool.totalCount == 0)
        #expect(pool.borrow(2, givesUp: true, now: now) == [.connect(2, after: .zero)])
    }

    @Test("While a connection is open, a caller that gives up waits for it: the database may only take no further one")
    func givesUpBesideAnOpenConnection() {
        var pool = machine(size: 2)
        _ = pool.borrow(1, now: now)
        _ = pool.connectDue(1)
        _ = pool.connected(1, expires: later, now: now)
        #expect(pool.borrow(2, givesUp: true, now: now) == [.connect(2, after: .zero)])
        _ = pool.connectDue(2)
        #expect(pool.connectFailed(2, isPermanent: false, jitter: 1) == [.connect(3, after: .milliseconds(50))])
        #expect(pool.released(1, isReusable: true, now: now) == [.grant(2, 1, needsCheck: false)])
    }

    @Test("The shutdown refuses waiters, closes idle connections and waits for lent ones")
    func shutdown() {
        var pool = machine(size: 2)
        for waiter in 1...2 { _ = pool.borrow(waiter, now: now) }
        for slot in 1...2 {
            _ = pool.connectDue(slot)
            _ = pool.connected(slot, expires: later, now: now)
        }
        _ = pool.released(1, isReusable: true, now: now)
        _ = pool.borrow(3, now: now)
        _ = pool.borrow(4, now: now)
        #expect(pool.shutDown() == [.refuse(4, .closed)])
        #expect(pool.borrow(5, now: now) == [.refuse(5, .closed)])
        #expect(pool.released(1, isReusable: true, now: now) == [.close(1)])
        #expect(pool.closed(1) == [])
        #expect(pool.closeTheRest() == [.close(2)])
        #expect(pool.closed(2) == [.finished])
        #expect(pool.shutDown() == [], "a second shutdown does nothing")
    }

    @Test("A pool that was never used is finished at once")
    func neverUsed() {
        var pool = machine()
        #expect(pool.shutDown() == [.finished])
    }

    @Test("A connection that opens during the shutdown is closed")
    func opensDuringShutdown() {
        var pool = machine(size: 1)
        _ = pool.borrow(1, now: now)
        _ = pool.connectDue(1)
        #expect(pool.shutDown() == [.refuse(1, .closed)])
        #expect(pool.connected(1, expires: later, now: now) == [.close(1)])
        #expect(pool.closed(1) == [.finished])
    }
}
