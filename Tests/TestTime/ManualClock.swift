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

    public typealias Instant = ContinuousClock.Instant

    private let state: Mutex<State>

    /// Makes a clock that shows a moment.
    public init(now: Instant = .now) { state = Mutex(State(now: now)) }

    public var now: Instant { state.withLock { $0.now } }

    public var minimumResolution: Duration { .nanoseconds(1) }

    /// How many tasks sleep by this clock.
    public var sleeperCount: Int { state.withLock { $0.sleepers.count } }

    public func onJump(_ wake: @escaping @Sendable () -> Void) { state.withLock { $0.wakers.append(wake) } }

    /// Moves the clock forward, and wakes whatever is due.
    ///
    /// What begins to wait only afterwards waits from the new moment: see ``waitForSleepers(_:fileID:line:)``.
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
                // A cancellation just before the sleeper was in its place found nobody.
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

    /// Waits until so many tasks sleep by this clock.
    public func waitForSleepers(_ count: Int = 1, fileID: String = #fileID, line: Int = #line) async throws {
        try await eventually("\(count) tasks that sleep by the manual clock", fileID: fileID, line: line) {
            sleeperCount >= count
        }
    }
}
