import Polling

/// What other threads ask of a connection.
///
/// Each call runs on the poller's thread.
extension ConnectionCore {
    /// Connects to one address.
    ///
    /// - Parameters:
    ///   - parameters: The connection parameters for libpq.
    ///   - deadline: When to stop trying.
    /// - Throws: `PostgresError` with code `connection`, `deadlineExceeded` or `cancelled`.
    nonisolated func open(_ parameters: [(key: String, value: String)], deadline: ContinuousClock.Instant) async throws
    {
        let ticket = Ticket()
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                onPoller { $0.startConnecting(parameters, deadline: deadline, ticket: ticket, continuation) }
            }
        } onCancel: {
            ticket.cancel()
            onPoller { $0.close(PostgresError(.cancelled, "connecting was cancelled")) }
        }
    }

    /// Runs a request and waits for its outcome.
    ///
    /// - Parameters:
    ///   - request: What to run.
    ///   - timeout: How long to wait, the time of earlier commands included; nil means for ever.
    ///   - isShielded: Whether to run it to its end in a cancelled task too, as a ROLLBACK must be.
    /// - Returns: The last result.
    /// - Throws: `PostgresError`
    @discardableResult
    nonisolated func perform(
        _ request: Request,
        timeout: Duration?,
        isShielded: Bool = false
    ) async throws -> PostgresResult {
        guard !request.sql.utf8.contains(0) else {
            throw PostgresError(.protocolViolation, "the SQL text contains a NUL")
        }
        let ticket = Ticket()
        let deadline = timeout.map { runtime.clock.now + $0 }
        health.commandBegins()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                onPoller { core in
                    core.submit(
                        Command(ticket: ticket, request: request, deadline: deadline, continuation: continuation))
                }
            }
        } onCancel: {
            guard !isShielded else { return }
            ticket.cancel()
            onPoller { $0.cancel(ticket, .cancelled) }
        }
    }

    /// Waits until no command is under way, or the connection is closed.
    nonisolated func settle() async {
        await withCheckedContinuation { continuation in
            onPoller { $0.resumeWhenIdle(continuation) }
        }
    }

    /// Closes the connection.
    ///
    /// The commands that are under way fail with the reason.
    nonisolated func closeSoon(_ reason: PostgresError) { onPoller { $0.close(reason) } }

    /// Runs a closure on the poller's thread.
    nonisolated func onPoller(_ body: @escaping @Sendable (isolated ConnectionCore) -> Void) {
        runtime.poller.execute { self.assumeIsolated { body($0) } }
    }
}
