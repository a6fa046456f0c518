import DequeModule
import Polling
import Synchronization

/// A few threads for calls that block, such as name look-ups and `PQcancel`.
///
/// They start when there is work and end when there is none. A call that never returns occupies its thread for ever.
/// Every caller therefore waits for its result with a deadline of its own.
final class BlockingThreads: Sendable {
    private struct State {
        var running = 0
        var queue: Deque<@Sendable () -> Void> = []
    }

    private let state = Mutex(State())
    private let name: String
    private let limit: Int

    init(name: String, limit: Int) {
        self.name = name
        self.limit = limit
    }

    /// Runs a closure on one of the threads, as soon as one is free.
    ///
    /// - Parameter closure: The closure.
    /// - Throws: `PollerError` if no thread runs and none can be started.
    func run(_ closure: @escaping @Sendable () -> Void) throws {
        let mustStart = state.withLock { state in
            if state.running == limit {
                state.queue.append(closure)
                return false
            }
            state.running += 1
            return true
        }
        guard mustStart else { return }
        do {
            try startThread(name: name) { [self] in
                closure()
                while let next = takeNext() { next() }
            }
        } catch {
            state.withLock { $0.running -= 1 }
            throw error
        }
    }

    private func takeNext() -> (@Sendable () -> Void)? {
        state.withLock { state in
            if let next = state.queue.popFirst() { return next }
            state.running -= 1
            return nil
        }
    }
}
