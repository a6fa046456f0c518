import Domain
import Postgres

extension PostgresPool {
    /// Runs statements for a user, in one transaction.
    ///
    /// Row-level security shows the rows that this user may see. The two settings end with the transaction: nothing of
    /// the user stays on the connection, and the method also works through a pooler.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; every error of `body`, after a rollback.
    func acting<Value>(
        as principal: Principal,
        actor: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        try await withTransaction { connection in
            _ = try await connection.query(
                """
                SELECT set_config('app.user_id', \(principal.user.description), true),
                       set_config('app.sign_in_id', \(principal.signIn.description), true)
                """)
            return try await body(connection)
        }
    }

    /// Runs statements for a user that may wait for the lock of a session, in one transaction.
    ///
    /// - Throws: What `acting(as:)` and `locking(_:)` throw.
    func acting<Value>(
        as principal: Principal,
        locking session: SessionID,
        actor: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        try await locking(session) { try await acting(as: principal, body) }
    }

    /// Runs a statement that may wait for the lock of a session, without a user.
    ///
    /// - Throws: ``PostgresError`` of the statement; what `locking(_:)` throws.
    func query(_ query: PostgresQuery, locking session: SessionID) async throws -> PostgresRows {
        try await locking(session) { try await self.query(query) }
    }

    /// Runs statements that may wait for the lock of a session.
    ///
    /// A pipeline can hold that lock for as long as its transaction is open. Few connections wait for one session, and
    /// some of the pool's connections never wait for any.
    ///
    /// - Throws: ``PostgresError`` with code `contended` if too many callers wait; what `body` throws.
    private func locking<Value>(
        _ session: SessionID, actor: isolated (any Actor)? = #isolation, _ body: () async throws -> Value
    ) async throws -> Value {
        try await contending(for: session.description, body)
    }
}
