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
}
