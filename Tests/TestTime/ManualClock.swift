public import Polling
import Synchronization
import TestSupport

/// A clock that stands still until a test moves it.
public final class ManualClock: MonotonicClock {
    private struct Sleeper {
        let deadline: Instant
        let continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        var now: Instant
        var lastID = 0
        var sleepers: [Int: Sleeper] = [:]
        var wakers: [@Sendable () -> Void] = []
    }

    /// The moments are those of `ContinuousClock`.
    public typealias Instant = ContinuousClock.Instant

    private let state: Mutex<State>

    /// Makes a clock.
    ///
    /// - Parameter now: The moment that it shows.
    public init(now: Instant = .now) { state = Mutex(State(now: now)) }

    /// The moment that the clock shows.
    public var now: Instant { state.withLock { $0.now } }

    /// The clock is exact.
    public var minimumResolution: Duration { .nanoseconds(1) }

    /// The number of tasks that sleep by this clock.
    public var sleeperCount: Int { state.withLock { $0.sleepers.count } }

    /// The moment for which the next task to wake up sleeps; nil if no task sleeps.
    public var earliestDeadline: Instant? { state.withLock { $0.sleepers.values.map(\.deadline).min() } }

    /// Adds a closure that the clock calls after each move.
    ///
    /// - Parameter wake: The closure.
    public func onJump(_ wake: @escaping @Sendable () -> Void) { state.withLock { $0.wakers.append(wake) } }

    /// Moves the clock forward, and wakes everything that is due.
    ///
    /// A wait that begins later counts from the new moment; see ``waitForSleepers(_:fileID:line:)``.
    ///
    /// - Parameter duration: How far the clock moves.
    public func advance(by duration: Duration) {
        let (due, wakers) = state.withLock { state in
            state.now += duration
            let due = state.sleepers.filter { $0.value.deadline <= state.now }
            for id in due.keys { state.sleepers[id] = nil }
            return (due.values.sorted { $0.deadline < $1.deadline }, state.wakers)
        }
        for sleeper in due { sleeper.continuation.resume() }
        for wake in wakers { wake() }
    }

    /// Sleeps until the clock has reached a moment.
    ///
    /// - Parameters:
    ///   - deadline: The moment.
    ///   - _: A tolerance, which is ignored.
    /// - Throws: `CancellationError` if the task is cancelled.
    public func sleep(until deadline: Instant, tolerance _: Duration? = nil) async throws {
        let id = state.withLock { state in
            state.lastID += 1
            return state.lastID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let isDue = state.withLock { state in
                    if state.now >= deadline { return true }
                    state.sleepers[id] = Sleeper(deadline: deadline, continuation: continuation)
                    return false
                }
                if isDue { return continuation.resume() }
                // A cancellation just before the sleeper began to wait found no sleeper.
                if Task.isCancelled { cancel(id) }
            }
        } onCancel: {
            cancel(id)
        }
    }

    private func cancel(_ id: Int) {
        let sleeper = state.withLock { $0.sleepers.removeValue(forKey: id) }
        sleeper?.continuation.resume(throwing: CancellationError())
    }

    /// Waits until enough tasks sleep by this clock.
    ///
    /// - Parameters:
    ///   - count: How many tasks.
    ///   - fileID: The caller's file, for the error.
    ///   - line: The caller's line, for the error.
    /// - Throws: ``DidNotHappen``
    public func waitForSleepers(_ count: Int = 1, fileID: String = #fileID, line: Int = #line) async throws {
        try await eventually("\(count) tasks that sleep by the manual clock", fileID: fileID, line: line) {
            sleeperCount >= count
        }
    }

    /// Moves the clock on, again and again, until a body returns.
    ///
    /// Use it for periodic work of which a test sees the result alone. A step is followed by 20 ms of the system's clock,
    /// in which a thread that waits by this clock can see the step.
    ///
    /// - Parameters:
    ///   - step: How far the clock moves at a time.
    ///   - body: Waits for the result.
    /// - Returns: What the body returns.
    /// - Throws: What the body throws.
    public nonisolated(nonsending) func keepMoving<Value>(
        by step: Duration, _ body: () async throws -> Value
    ) async throws -> Value {
        // Not structured: the body may use values that cannot be sent to a child task.
        let mover = Task {
            while true {
                advance(by: step)
                try await ContinuousClock().sleep(for: .milliseconds(20))
            }
        }
        defer { mover.cancel() }
        return try await body()
    }
}
