import Synchronization

/// Lets a limited number of tests in at once.
///
/// All tests of a process start together; a machine with two cores is better off with a few servers at a time than with
/// a hundred.
final class Turnstile: Sendable {
    /// For tests with a database.
    static let databases = Turnstile(width: 6)

    private struct State {
        var free: Int
        var queue: [CheckedContinuation<Void, Never>] = []
    }
    private let state: Mutex<State>

    init(width: Int) { state = Mutex(State(free: width)) }

    func enter() async {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                guard state.free > 0 else {
                    state.queue.append(continuation)
                    return false
                }
                state.free -= 1
                return true
            }
            if isFree { continuation.resume() }
        }
    }

    func leave() {
        let next: CheckedContinuation<Void, Never>? = state.withLock { state in
            guard !state.queue.isEmpty else {
                state.free += 1
                return nil
            }
            return state.queue.removeFirst()
        }
        next?.resume()
    }
}
