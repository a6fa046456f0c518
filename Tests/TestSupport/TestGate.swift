import Synchronization

/// Lets a limited number of callers in at once, in the order of their arrival.
public final class TestGate: Sendable {
    private struct State {
        var free: Int
        var queue: [CheckedContinuation<Void, Never>] = []
    }
    private let state: Mutex<State>

    /// Makes an open gate.
    ///
    /// - Parameter width: How many callers are in at once.
    public init(width: Int) { state = Mutex(State(free: width)) }

    /// Waits until there is room.
    ///
    /// A call of ``leave()`` follows.
    public func enter() async {
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

    /// Lets the next caller in.
    public func leave() {
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
