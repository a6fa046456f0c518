import Progress
import TestSupport
import TestTime
import Testing

@Suite(.deadline) struct PollingChangeSourceTests {
    @Test("A source without hints says after each interval that it is time to look, and nothing else")
    func looks() async throws {
        let clock = ManualClock()
        var events = PollingChangeSource(interval: .seconds(2), clock: clock).events().makeAsyncIterator()
        for _ in 0..<3 {
            try await clock.waitForSleepers()
            clock.advance(by: .seconds(2))
            #expect(await events.next() == [.lookDue])
        }
    }

    @Test("Looks that nobody has read yet become one")
    func coalesces() async throws {
        let clock = ManualClock()
        let stream = PollingChangeSource(interval: .seconds(2), clock: clock).events()
        for _ in 0..<3 {
            try await clock.waitForSleepers()
            clock.advance(by: .seconds(2))
        }
        try await clock.waitForSleepers()
        var events = stream.makeAsyncIterator()
        #expect(await events.next() == [.lookDue])
        let next = Task { await events.next() }
        clock.advance(by: .seconds(2))
        #expect(await next.value == [.lookDue])
    }

    @Test("The clock is left alone when the consumer has gone")
    func ends() async throws {
        let clock = ManualClock()
        let consumer = Task {
            for await _ in PollingChangeSource(interval: .seconds(2), clock: clock).events() {}
        }
        try await clock.waitForSleepers()
        consumer.cancel()
        await consumer.value
        try await eventually("nobody sleeps") { clock.sleeperCount == 0 }
    }
}
