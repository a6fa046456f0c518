public import Domain
public import Postgres

// The server's role, and the acting user.

extension TestDatabase {
    /// Adds a sign-in of a user, for a day.
    public func addSignIn(of user: UserID) async throws -> SignInID {
        let signIn = SignInID.random()
        try await query(
            """
            INSERT INTO app.auth_sessions (id, user_id, expires_at)
            VALUES (\(signIn.rawValue), \(user.rawValue), now() + interval '1 day')
            """)
        return signIn
    }

    /// Lends a pool of connections with the server's role.
    public func withServerPool<Result: Sendable>(
        size: Int, _ body: (PostgresPool) async throws -> Result
    ) async throws -> Result {
        try await PostgresPool.withPool(
            try PostgresConfiguration.forTests(url("therapybridge_server")),
            settings: PostgresPoolConfiguration(size: size), body)
    }
}

extension PostgresConnection {
    /// Sets the acting user of the present transaction.
    public func act(as principal: Principal) async throws {
        _ = try await query(
            """
            SELECT set_config('app.user_id', \(principal.user.description), true),
                   set_config('app.sign_in_id', \(principal.signIn.description), true)
            """)
    }

    /// Runs a statement for an acting user, in a transaction of its own.
    public func query(_ query: PostgresQuery, as principal: Principal) async throws -> PostgresRows {
        try await withTransaction { connection in
            try await connection.act(as: principal)
            return try await connection.query(query)
        }
    }
}
