import HummingbirdCore
import NIOCore
import Synchronization

/// Counts the connections of all server sockets against one limit.
///
/// A connection beyond the limit waits in the backlog until another one closes. Streams leave the framework, and their
/// connections stop counting.
final class ConnectionLimit: AvailableConnectionsDelegate {
    private struct State {
        var connections = 0
        var sockets: [any Channel] = []
    }

    private let maximum: Int
    private let state = Mutex(State())

    init(_ maximum: Int) { self.maximum = maximum }

    /// Adds a server socket, which accepts again when a connection of any socket closes.
    func add(_ socket: any Channel) {
        state.withLock { $0.sockets.append(socket) }
        // Connections may have closed since this socket stopped accepting.
        socket.read()
    }

    func connectionOpened() { state.withLock { $0.connections += 1 } }

    func connectionClosed() {
        let sockets = state.withLock { state in
            state.connections -= 1
            return state.connections == maximum - 1 ? state.sockets : []
        }
        // The framework wakes only the socket whose connection has closed. Its handler is still modifying its delegate, and
        // a read right now would access the delegate a second time.
        for socket in sockets { socket.eventLoop.execute { socket.read() } }
    }

    func isAcceptingNewConnections() -> Bool { state.withLock { $0.connections < maximum } }
}
