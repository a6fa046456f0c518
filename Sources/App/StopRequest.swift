import Synchronization

/// A request to stop the process, which may come before the services run.
final class StopRequest: Sendable {
    /// Moves from `waiting` to `requested`, once.
    private enum State {
        /// No request came. The handlers run at the request.
        case waiting([@Sendable () -> Void])
        /// The request came.
        case requested
    }

    private let state = Mutex(State.waiting([]))

    /// True if the request came.
    var isRequested: Bool {
        state.withLock {
            if case .requested = $0 { true } else { false }
        }
    }

    /// Requests the stop.
    func request() {
        let handlers = state.withLock { state in
            defer { state = .requested }
            return if case .waiting(let handlers) = state { handlers } else { [] as [@Sendable () -> Void] }
        }
        for handler in handlers { handler() }
    }

    /// Runs a handler at the request, or now if the request came already.
    func onRequest(_ handler: @escaping @Sendable () -> Void) {
        let isRequested = state.withLock { state in
            guard case .waiting(let handlers) = state else { return true }
            state = .waiting(handlers + [handler])
            return false
        }
        if isRequested { handler() }
    }

    /// Runs work, and cancels it at the request.
    ///
    /// - Parameter work: Ends soon after it was cancelled.
    /// - Returns: False if the work ended because of the request.
    /// - Throws: The error of the work.
    func cancelling(_ work: @escaping @Sendable () async throws -> Void) async throws -> Bool {
        // The handler of the request may run at any time, and cannot reach into a task group.
        let task = Task { try await work() }
        onRequest { task.cancel() }
        do {
            try await withTaskCancellationHandler {
                try await task.value
            } onCancel: {
                task.cancel()
            }
            return true
        } catch is CancellationError where isRequested {
            return false
        }
    }
}
