import TestSupport
import TestTime
import Testing

/// The waits of all tests.
@Suite("The waits of tests", .deadline) struct TestTimeTests {
    @Test("A failed wait names what was waited for, and where")
    func failedWait() async {
        let error = await #expect(throws: DidNotHappen.self) {
            try await within("the end of the world", limit: .milliseconds(10)) {
                try await ContinuousClock().sleep(for: .seconds(3600))
            }
        }
        #expect(error?.what == "the end of the world")
        #expect(error?.place.hasPrefix("PollingTests/TestTimeTests.swift:") == true)
        #expect(error?.description.contains("the end of the world: not within 0.01 seconds") == true)
    }

    @Test("A condition that never becomes true fails at the limit")
    func condition() async {
        let error = await #expect(throws: DidNotHappen.self) {
            try await eventually("a miracle", limit: .milliseconds(10)) { false }
        }
        #expect(error?.what == "a miracle")
    }

    @Test("An operation that ignores its cancellation fails too")
    func swallowedCancellation() async {
        await #expect(throws: DidNotHappen.self) {
            try await within("a signal", limit: .milliseconds(10)) {
                for await _ in AsyncStream<Void>.makeStream().stream {}
            }
        }
    }

    @Test("An operation in time keeps its value, its error and its task")
    func inTime() async throws {
        struct Trouble: Error {}
        #expect(try await within("a value") { 7 } == 7)
        await #expect(throws: Trouble.self) { try await within("an error") { throw Trouble() } }
        #expect(!Task.isCancelled)
    }

    @Test("A sleeper wakes when the manual clock has moved far enough")
    func sleeper() async throws {
        let clock = ManualClock()
        let (woken, wake) = AsyncStream.makeStream(of: Int.self)
        let tasks = [3, 1, 2].map { seconds in
            Task {
                try await clock.sleep(for: .seconds(seconds))
                wake.yield(seconds)
            }
        }
        try await clock.waitForSleepers(3)
        var order = woken.makeAsyncIterator()
        for seconds in 1...3 {
            clock.advance(by: .seconds(1))
            #expect(try await within("a sleeper that wakes") { await order.next() } == seconds)
            #expect(clock.sleeperCount == 3 - seconds)
        }
        for task in tasks { try await task.value }
    }

    @Test("A cancelled sleeper gets an error, before and during its sleep")
    func cancelledSleeper() async throws {
        let clock = ManualClock()
        let sleeping = Task { try await clock.sleep(for: .seconds(1)) }
        try await clock.waitForSleepers()
        sleeping.cancel()
        await #expect(throws: CancellationError.self) { try await sleeping.value }
        let early = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            try await clock.sleep(for: .seconds(1))
        }
        await #expect(throws: CancellationError.self) { try await early.value }
        #expect(clock.sleeperCount == 0)
    }
}
