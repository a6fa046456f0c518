import FoundationEssentials
import Glibc

/// Decides when the server accepts connections.
///
/// This is a value without sockets or timers. The ``Acceptor`` reports what happens, and watches its sockets while
/// ``isAccepting`` is true.
struct AcceptStateMachine {
    /// How to go on after a failed system call.
    enum Failure: Equatable {
        /// Accept the next connection. The failed one is gone.
        case acceptNext
        /// Accept nothing for ``AcceptStateMachine/pause``, then call ``AcceptStateMachine/pauseIsOver()``.
        ///
        /// `warns` is true if the operator should read about it.
        case pause(warns: Bool)
        /// Do nothing: the server has stopped to accept.
        case ignore
    }

    private enum State {
        /// The server accepts whatever comes. → full, pausing, stopped
        case accepting
        /// The limit of connections is reached. → accepting, stopped
        case full
        /// The process or the system lacks a descriptor or memory. → accepting, stopped
        case pausing
        /// The server shuts down. This is the last state.
        case stopped
    }

    /// How long the server waits for a descriptor or memory to become free.
    static let pause = Duration.milliseconds(100)
    /// The least time between two warnings.
    static let warningInterval = Duration.seconds(10)

    private var state = State.accepting
    private var lastWarning: ContinuousClock.Instant?

    /// True while the server accepts connections.
    var isAccepting: Bool { state == .accepting }

    /// True until the shutdown.
    var isOpen: Bool { state != .stopped }

    /// The limit of connections is reached.
    mutating func becameFull() { if state == .accepting { state = .full } }

    /// A connection below the limit has ended.
    ///
    /// - Returns: True if the server accepts connections again.
    mutating func slotIsFree() -> Bool {
        guard state == .full else { return false }
        state = .accepting
        return true
    }

    /// A connection could not be accepted.
    ///
    /// - Parameters:
    ///   - code: The `errno` of `accept4`, or of the call that watches the connection.
    ///   - now: The present moment.
    /// - Returns: How to go on.
    mutating func failed(_ code: CInt, at now: ContinuousClock.Instant) -> Failure {
        guard state == .accepting else { return .ignore }
        if Self.isOfOneConnection(code) { return .acceptNext }
        state = .pausing
        let warns = lastWarning.map { now - $0 >= Self.warningInterval } ?? true
        if warns { lastWarning = now }
        return .pause(warns: warns)
    }

    /// The pause after a failure is over.
    ///
    /// - Returns: True if the server accepts connections again.
    mutating func pauseIsOver() -> Bool {
        guard state == .pausing else { return false }
        state = .accepting
        return true
    }

    /// The server shuts down.
    ///
    /// - Returns: False if it does so already.
    mutating func stop() -> Bool {
        defer { state = .stopped }
        return state != .stopped
    }

    /// Returns true if the error is about one connection, and the next one may be good.
    ///
    /// accept(2): "Linux accept() […] passes already-pending network errors on the new socket as an error code from
    /// accept(). […] For reliable operation the application should detect the network errors defined for the protocol after
    /// accept() and treat them like EAGAIN by retrying. In the case of TCP/IP, these are ENETDOWN, EPROTO, ENOPROTOOPT,
    /// EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP, and ENETUNREACH." A firewall's refusal is EPERM.
    private static func isOfOneConnection(_ code: CInt) -> Bool {
        switch code {
        case EINTR, ECONNABORTED, EPERM, ENETDOWN, EPROTO, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP,
            ENETUNREACH, ETIMEDOUT, ECONNRESET:
            true
        default: false
        }
    }
}
