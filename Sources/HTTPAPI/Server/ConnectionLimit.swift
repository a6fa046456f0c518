import Synchronization

/// Counts the connections of all listening sockets against one limit.
///
/// The acceptor takes a slot before it accepts a connection. A connection beyond the limit therefore waits in the kernel's
/// queue until another one ends. Streams do not count: the reactor has their connections.
final class ConnectionLimit: Sendable {
    private struct State {
        var connections = 0
        var isAwaited = false
    }

    private let maximum: Int
    private let state = Mutex(State())

    init(_ maximum: Int) { self.maximum = maximum }

    /// Takes a slot for one more connection.
    ///
    /// - Returns: False if the limit is reached. The next ``leave()`` then returns true.
    func enter() -> Bool {
        state.withLock { state in
            guard state.connections < maximum else {
                state.isAwaited = true
                return false
            }
            state.connections += 1
            return true
        }
    }

    /// Gives the slot of a connection back.
    ///
    /// - Returns: True if the acceptor waits for a slot.
    func leave() -> Bool {
        state.withLock { state in
            state.connections -= 1
            defer { state.isAwaited = false }
            return state.isAwaited
        }
    }
}
