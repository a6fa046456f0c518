import Polling

/// Decides how a command runs on an open connection: it is sent, its results arrive, and it may be cancelled.
///
/// Each event says what happened and returns what to do next. The machine does not call libpq and knows no clock. After
/// every action but `wait`, `idle`, `cancel` and `close` the caller reports the result.
///
/// Three sentences of the manual decide its shape:
///
/// - 34.4: "After sending any command or data on a nonblocking connection, call PQflush. If it returns 1, wait for the
///   socket to become read- or write-ready. If it becomes write-ready, call PQflush again. If it becomes read-ready,
///   call PQconsumeInput, then call PQflush again. Repeat until PQflush returns 0." A wait for room to write alone
///   would deadlock with a server that waits until the client reads.
/// - 34.4: "PQgetResult must be called repeatedly until it returns a null pointer, indicating that the command is
///   done."
/// - 34.7: "Successful dispatch is no guarantee that the request will have any effect". A cancel request uses another
///   connection. It may arrive after the next command has begun. Therefore the machine probes: after `PQcancel` has
///   returned and the results are drained, it sends an empty query. Only then is the connection used again.
struct QueryStateMachine: Equatable {
    /// What the caller does next.
    enum Action: Equatable {
        /// Call `PQflush` and report `flushed`.
        case flush
        /// Call `PQconsumeInput` and report `consumed`.
        case consumeInput
        /// Call `PQisBusy` and, unless it is, `PQgetResult`; report `busy`, `result` or `noResult`.
        case getResult
        /// Wait for the socket.
        case wait(PollInterest)
        /// The command is complete.
        case finish
        /// Fail the command at once, send `PQcancel` from another thread and report `cancelSent`, start the grace
        /// period and report `graceOver`, and wait for the socket.
        case cancel(CancelReason, wait: PollInterest)
        /// Send an empty query and report `sent`.
        case probe
        /// The connection is free again after a command was cancelled.
        case idle
        /// The connection cannot be used again.
        case close(CloseReason)
    }

    /// Why a connection cannot be used again.
    enum CloseReason: Equatable {
        /// libpq says that the connection is broken.
        case lost
        /// The server wants COPY data, which this library does not support.
        case copy
        /// A cancelled command did not end in time.
        case stuck
    }

    /// What `PQflush` returned.
    enum Flush: Equatable {
        case done, pending, failed
    }

    /// The kind of result that `PQgetResult` returned.
    enum ResultKind: Equatable {
        case ordinary, copy
    }

    private enum State: Equatable {
        /// Nothing is under way. → running
        case idle
        /// The bytes of a command are being sent, or its results arrive. → idle, draining
        case running(flushing: Bool)
        /// A command was cancelled, and its results are dropped. → probing, closed
        case draining(flushing: Bool, cancelReturned: Bool, drained: Bool)
        /// The empty query is under way that shows that no cancel request is on its way. → idle, closed
        case probing(flushing: Bool)
        /// The connection is closed.
        case closed
    }

    private var state = State.idle

    /// Whether a command can be sent.
    var isIdle: Bool { state == .idle }

    /// libpq has taken a command or a probe.
    mutating func sent() -> Action {
        switch state {
        case .idle: state = .running(flushing: true)
        case .probing: state = .probing(flushing: true)
        case .running, .draining: preconditionFailure("a command was sent while another is under way")
        case .closed: break
        }
        return .flush
    }

    /// The socket is ready.
    mutating func ready(_ readiness: PollReadiness) -> Action {
        if state == .closed { return .wait([]) }
        if readiness.contains(.readable) { return .consumeInput }
        return isFlushing ? .flush : .wait(.read)
    }

    /// `PQflush` has returned.
    mutating func flushed(_ flush: Flush) -> Action {
        switch flush {
        case .failed: return close(.lost)
        case .pending: return .wait([.read, .write])
        case .done:
            setFlushing(false)
            return .getResult
        }
    }

    /// `PQconsumeInput` has returned.
    mutating func consumed(_ succeeded: Bool) -> Action {
        guard succeeded else { return close(.lost) }
        switch state {
        case .idle, .closed: return .wait(.read)
        case .running(let flushing), .probing(let flushing): return flushing ? .flush : .getResult
        case .draining(let flushing, _, let drained):
            if flushing { return .flush }
            return drained ? .wait(.read) : .getResult
        }
    }

    /// `PQisBusy` says that the result is not complete yet.
    mutating func busy() -> Action { .wait(.read) }

    /// `PQgetResult` has returned a result.
    mutating func result(_ kind: ResultKind) -> Action {
        kind == .copy ? close(.copy) : .getResult
    }

    /// `PQgetResult` has returned NULL: the command is done.
    mutating func noResult() -> Action {
        switch state {
        case .running:
            state = .idle
            return .finish
        case .draining(let flushing, let cancelReturned, _):
            state = .draining(flushing: flushing, cancelReturned: cancelReturned, drained: true)
            return probeWhenSafe()
        case .probing:
            state = .idle
            return .idle
        case .idle, .closed: return .wait(.read)
        }
    }

    /// The command's deadline came, or its task was cancelled.
    ///
    /// - Parameter reason: Which of the two.
    /// - Returns: What to do next; nil if no command is under way, or it was cancelled before.
    mutating func cancel(_ reason: CancelReason) -> Action? {
        guard case .running(let flushing) = state else { return nil }
        state = .draining(flushing: flushing, cancelReturned: false, drained: false)
        return .cancel(reason, wait: flushing ? [.read, .write] : .read)
    }

    /// `PQcancel` has returned, with any result.
    mutating func cancelSent() -> Action {
        guard case .draining(let flushing, _, let drained) = state else { return .wait(interest) }
        state = .draining(flushing: flushing, cancelReturned: true, drained: drained)
        return probeWhenSafe()
    }

    /// The grace period of a cancelled command is over.
    ///
    /// - Returns: What to do next; nil if the command has ended.
    mutating func graceOver() -> Action? {
        switch state {
        case .draining, .probing: return close(.stuck)
        case .idle, .running, .closed: return nil
        }
    }

    /// The caller closes the connection.
    mutating func closed() { state = .closed }

    private mutating func close(_ reason: CloseReason) -> Action {
        state = .closed
        return .close(reason)
    }

    private mutating func probeWhenSafe() -> Action {
        guard case .draining(_, true, true) = state else { return .wait(interest) }
        state = .probing(flushing: true)
        return .probe
    }

    private var isFlushing: Bool {
        switch state {
        case .running(let flushing), .probing(let flushing), .draining(let flushing, _, _): flushing
        case .idle, .closed: false
        }
    }

    private var interest: PollInterest { isFlushing ? [.read, .write] : .read }

    private mutating func setFlushing(_ flushing: Bool) {
        switch state {
        case .running: state = .running(flushing: flushing)
        case .probing: state = .probing(flushing: flushing)
        case .draining(_, let cancelReturned, let drained):
            state = .draining(flushing: flushing, cancelReturned: cancelReturned, drained: drained)
        case .idle, .closed: break
        }
    }
}
