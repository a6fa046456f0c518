import Synchronization

/// Lets a limited number of callers in at once, in the order of their arrival.
public final class TestGate: Sendable {
    private struct State {
        var free: Int
        var queue: [(places: Int, continuation: CheckedContinuation<Void, Never>)] = []
    }
    private let state: Mutex<State>

    /// Makes an open gate.
    ///
    /// - Parameter width: How many places there are.
    public init(width: Int) { state = Mutex(State(free: width)) }

    /// Waits until there is room.
    ///
    /// A call of ``leave(places:)`` follows.
    ///
    /// - Parameter places: How many places the caller takes. With all of them, it is in alone.
    public func enter(places: Int = 1) async {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                guard state.queue.isEmpty, state.free >= places else {
                    state.queue.append((places, continuation))
                    return false
                }
                state.free -= places
                return true
            }
            if isFree { continuation.resume() }
        }
    }

    /// Lets the next callers in.
    ///
    /// - Parameter places: How many places the caller had.
    public func leave(places: Int = 1) {
        let next = state.withLock { state in
            state.free += places
            var next: [CheckedContinuation<Void, Never>] = []
            while let first = state.queue.first, first.places <= state.free {
                state.free -= first.places
                next.append(state.queue.removeFirst().continuation)
            }
            return next
        }
        for continuation in next { continuation.resume() }
    }
}
