/// How much of other transactions one sees.
public enum PostgresIsolation: String, Sendable {
    /// Each statement sees what was committed before it.
    case readCommitted = "READ COMMITTED"
    /// All statements see what was committed before the first.
    case repeatableRead = "REPEATABLE READ"
    /// As if transactions ran one after the other; may fail with `SQLState.serializationFailure`.
    case serializable = "SERIALIZABLE"
}

extension PostgresConnection {
    /// Runs a transaction: COMMIT when the body returns, ROLLBACK when it throws.
    ///
    /// A cancelled task does not keep the ROLLBACK from being sent, and COMMIT, once sent, is waited for.
    ///
    /// - Parameters:
    ///   - level: nil takes the session's, which is READ COMMITTED unless someone changed it.
    ///   - readOnly: refuses writes.
    ///   - actor: the actor of the caller, on which the body runs.
    ///   - body: the statements; it must not end the transaction itself.
    /// - Returns: what the body returns.
    /// - Throws: what the body throws; or `PostgresError` with code
    ///   `transaction(.rollbackFailed)` with both causes, when the ROLLBACK failed too;
    ///   `transaction(.commitRefused)` when a statement had failed and the body went on;
    ///   `transaction(.commitOutcomeUnknown)` when the connection or the time ended during COMMIT;
    ///   `server` when the server refused COMMIT, and with it the transaction.
    @discardableResult
    public func withTransaction<Value>(
        isolation level: PostgresIsolation? = nil,
        readOnly: Bool = false,
        actor: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        var begin = "BEGIN"
        if let level { begin += " ISOLATION LEVEL \(level.rawValue)" }
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
            // An answer of the server's means that the transaction is rolled back; no answer means nothing.
            if error.code == .server { throw error }
            throw PostgresError(
                .transaction(.commitOutcomeUnknown), "it is unknown whether the transaction was committed",
                underlying: [error])
        }
        // "COMMIT" of a failed transaction succeeds, and its tag says what it did.
        if result.commandTag == "ROLLBACK" {
            throw PostgresError(
                .transaction(.commitRefused), "a statement had failed, so the transaction was rolled back")
        }
    }

    private func rollBack(after cause: any Error) async throws {
        // The server has rolled back already when it lost the connection, and the body knows that it is lost.
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
