import TestSupport
import TestTime
import Testing

/// What all tests wait by.
@Suite(.deadline) struct TestTimeTests {
    @Test func `A wait in vain says soon what was waited for, and where`() async {
        let error = await #expect(throws: DidNotHappen.self) {
            try await within("the end of the world", limit: .milliseconds(10)) {
                try await ContinuousClock().sleep(for: .seconds(3600))
            }
        }
        #expect(error?.what == "the end of the world")
        #expect(error?.place.hasPrefix("PollingTests/TestTimeTests.swift:") == true)
        #expect(error?.description.contains("the end of the world: not within 0.01 seconds") == true)
    }

    @Test func `A condition that never comes about is given up`() async {
        let error = await #expect(throws: DidNotHappen.self) {
            try await eventually("a miracle", limit: .milliseconds(10)) { false }
        }
        #expect(error?.what == "a miracle")
    }

    @Test func `An operation that swallows its cancellation is too late all the same`() async {
        await #expect(throws: DidNotHappen.self) {
            try await within("a signal", limit: .milliseconds(10)) {
                for await _ in AsyncStream<Void>.makeStream().stream {}
            }
        }
    }

    @Test func `What is in time keeps its value, its error and its task`() async throws {
        struct Trouble: Error {}
        #expect(try await within("a value") { 7 } == 7)
        await #expect(throws: Trouble.self) { try await within("an error") { throw Trouble() } }
        #expect(!Task.isCancelled)
    }

    @Test func `Who sleeps by a manual clock wakes when it is moved far enough`() async throws {
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

    @Test func `A cancelled sleeper is woken with an error, before and while it sleeps`() async throws {
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
