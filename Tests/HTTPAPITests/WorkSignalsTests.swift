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
        #expect(!signals.leave(first))
        #expect(signals.leave(second))
        #expect(!signals.leave(second))
        // Nobody waits.
        signals.signal()
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
    }
}
