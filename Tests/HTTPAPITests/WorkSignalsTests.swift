import Testing

@testable import HTTPAPI

@Suite("The signals of work")
struct WorkSignalsTests {
    @Test("A signal wakes the request that has waited longest, and no other")
    func order() async {
        let signals = WorkSignals()
        let (first, second) = (WorkSignals.Waiter(), WorkSignals.Waiter())
        signals.enter(first)
        signals.enter(second)
        signals.signal()
        await first.wait()
        #expect(first.isWoken)
        #expect(!second.isWoken)
        #expect(!signals.leave(first))
        #expect(signals.leave(second))
        #expect(!signals.leave(second))
        // Nobody waits.
        signals.signal()
    }

    @Test("The first request is the one that has waited longest, until it leaves or begins a new round")
    func first() {
        let signals = WorkSignals()
        let (one, two) = (WorkSignals.Waiter(), WorkSignals.Waiter())
        signals.enter(one)
        signals.enter(two)
        #expect(signals.isFirst(one))
        #expect(!signals.isFirst(two))
        _ = signals.leave(one)
        #expect(signals.isFirst(two))
        signals.enter(one)
        #expect(!signals.isFirst(one))
    }

    @Test("However many requests wait, one of them looks in each interval, also after a signal in vain")
    func looks() {
        var line = WorkSignals.Line<WorkSignals.Waiter>()
        let waiters = (0..<10).map { _ in WorkSignals.Waiter() }
        for waiter in waiters { line.enter(waiter) }
        func interval() -> Int {
            var looks = 0
            // All requests began to wait at about the same time: their intervals end one after the other.
            for waiter in waiters where line.isFirst(waiter) {
                line.enter(waiter)
                looks += 1
            }
            return looks
        }
        for _ in 0..<12 { #expect(interval() == 1) }
        // The woken request looks, finds nothing, and waits behind the others.
        let woken = line.next()
        #expect(woken === waiters[0])
        line.enter(waiters[0])
        for _ in 0..<12 { #expect(interval() == 1) }
        #expect(line.isFirst(waiters[1]))
    }

    @Test("A signal before the wait is not lost, and a new round begins without it")
    func early() async {
        let signals = WorkSignals()
        let waiter = WorkSignals.Waiter()
        signals.enter(waiter)
        signals.signal()
        await waiter.wait()
        signals.enter(waiter)
        #expect(signals.leave(waiter))
    }

    @Test("A waiter that has ended waits no more, and a cancelled one neither")
    func ended() async {
        let waiter = WorkSignals.Waiter()
        #expect(!waiter.hasEnded)
        let waiting = Task { await waiter.wait() }
        waiter.end()
        await waiting.value
        #expect(waiter.hasEnded)

        let other = WorkSignals.Waiter()
        let cancelled = Task { await other.wait() }
        cancelled.cancel()
        await cancelled.value
        #expect(!other.hasEnded)
        // A cancelled wait is no signal.
        #expect(!other.isWoken)
    }
}
