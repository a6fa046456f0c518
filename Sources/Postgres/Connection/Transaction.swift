extension PostgresConnection {
    /// Runs a transaction: COMMIT when the body returns, ROLLBACK when it throws.
    ///
    /// Each statement sees what was committed before it: READ COMMITTED, whatever the session's default is. The ROLLBACK is sent even if the task is cancelled. A COMMIT that was sent is waited for.
    ///
    /// - Parameters:
    ///   - readOnly: Whether the server refuses writes.
    ///   - actor: The actor of the caller, on which the body runs.
    ///   - body: The statements. It must not end the transaction itself.
    /// - Returns: What the body returns.
    /// - Throws: What the body throws; or `PostgresError` with code `transaction(.rollbackFailed)` and both causes if
    ///   the ROLLBACK failed too; `transaction(.commitRefused)` if a statement had failed and the body went on;
    ///   `transaction(.commitOutcomeUnknown)` if the connection or the time ended during COMMIT; `server` if the server
    ///   refused COMMIT, and with it the transaction.
    @discardableResult
    public func withTransaction<Value>(
        readOnly: Bool = false,
        actor: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        var begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
        if readOnly { begin += " READ ONLY" }
        try await perform(.script(begin), timeout: nil)
        let value: Value
        do {
            value = try await body(self)
            if Task.isCancelled { throw PostgresError(.cancelled, "the transaction was cancelled before COMMIT") }
        } catch {
            try await rollBack(after: error)
            throw error
        }
        try await commit()
        return value
    }

    private func commit() async throws {
        let result: PostgresResult
        do {
            result = try await perform(.script("COMMIT"), timeout: nil, isShielded: true)
        } catch let error as PostgresError {
            // After the server's answer the transaction is rolled back. Without an answer its outcome is unknown.
            if error.code == .server { throw error }
            throw PostgresError(
                .transaction(.commitOutcomeUnknown), "it is unknown whether the transaction was committed",
                underlying: [error])
        }
        // COMMIT of a failed transaction succeeds, and its tag says ROLLBACK.
        if result.commandTag == "ROLLBACK" {
            throw PostgresError(
                .transaction(.commitRefused), "the transaction was rolled back, because a statement had failed")
        }
    }

    private func rollBack(after cause: any Error) async throws {
        // The server rolls back when it loses the connection, and the body's error says that the connection is lost.
        if let cause = cause as? PostgresError, cause.code == .connection, core.health.current == .closed { return }
        do {
            try await perform(.script("ROLLBACK"), timeout: nil, isShielded: true)
        } catch {
            throw PostgresError(
                .transaction(.rollbackFailed), "the transaction failed, and its ROLLBACK too",
                underlying: [cause, error])
        }
    }
}
