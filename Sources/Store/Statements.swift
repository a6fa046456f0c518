import Domain
import Postgres

extension PostgresPool {
    /// Runs statements on behalf of a user, in one transaction: row-level security lets through what that user may see.
    ///
    /// Who acts is set for the transaction alone, so that nothing of it is left on the connection for the next one; it also
    /// works through a pooler.
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

/// A statement answered what it cannot answer.
enum StoreError: Error {
    /// A statement that always gives a row gave none.
    case noRow
}

/// The state of a session has something that this release does not know, such as a status of a newer one.
public struct UnreadableProgress: Error {
    /// The error of a row that cannot be read.
    public init() {}
}
