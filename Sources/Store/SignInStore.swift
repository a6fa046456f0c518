public import Domain
public import Postgres

/// The sign-ins and their refresh tokens: `app.auth_sessions`, `app.refresh_tokens`.
public struct SignInStore: Sendable {
    private let pool: PostgresPool

    public init(pool: PostgresPool) { self.pool = pool }

    /// Begins a sign-in.
    ///
    /// The user's row is held until the sign-in is there, so it either ends with what ends the others, or does not begin.
    ///
    /// - Parameters:
    ///   - passwordHash: The hash that the user's password was held against; nil when no password was asked for.
    ///   - refreshHash: The hash of its first refresh token; nil when it is to have none.
    ///   - lifetime: How long it may be refreshed.
    /// - Returns: Nil when the user is gone or inactive meanwhile, or has another password.
    public func begin(
        user: UserID, passwordHash: String? = nil, refreshHash: [UInt8]?, lifetime: Duration
    ) async throws -> SignInID? {
        let rows = try await pool.query(
            """
            WITH sign_in AS (
                INSERT INTO app.auth_sessions (user_id, expires_at)
                SELECT id, clock_timestamp() + make_interval(secs => \(lifetime.inSeconds)) FROM (
                    SELECT id FROM app.users
                    WHERE id = \(user) AND is_active
                      AND (\(passwordHash)::text IS NULL OR password_hash = \(passwordHash)) FOR SHARE) AS u
                RETURNING id, expires_at
            ), token AS (
                INSERT INTO app.refresh_tokens (token_hash, auth_session_id, expires_at)
                SELECT \(refreshHash), id, expires_at FROM sign_in WHERE \(refreshHash)::bytea IS NOT NULL
            )
            SELECT id FROM sign_in
            """)
        return try rows.first?.decode("id", as: SignInID.self)
    }

    /// Finds the user of a sign-in with an identity provider, and notes the sign-in when it is seen for the first time.
    ///
    /// It then stands here as any other: it can be ended, and stays ended.
    ///
    /// - Parameters:
    ///   - signIn: Names it, the same for all its tokens.
    ///   - email: The user's address.
    ///   - expiresAt: When the token expires; the sign-in lasts as long as the last of its tokens.
    /// - Returns: The user, active or not; nil when there is none of that address.
    public func admit(
        _ signIn: SignInID, email: EmailAddress, expiresAt: Timestamp
    ) async throws -> (user: UserID, isActive: Bool)? {
        let rows = try await pool.query(
            """
            SELECT u.id, u.is_active,
                   coalesce(s.user_id <> u.id OR s.revoked_at IS NOT NULL OR s.expires_at >= \(expiresAt), false) AS is_settled
            FROM app.users u LEFT JOIN app.auth_sessions s ON s.id = \(signIn)
            WHERE lower(u.email) = lower(\(email.description))
            """)
        guard let row = rows.first else { return nil }
        let user = try row.decode("id", as: UserID.self)
        let isActive = try row.decode("is_active", as: Bool.self)
        if try isActive && !row.decode("is_settled", as: Bool.self) {
            // One that has ended is left as it is, also when that happened a moment ago.
            _ = try await pool.execute(
                """
                INSERT INTO app.auth_sessions AS s (id, user_id, expires_at)
                SELECT \(signIn), id, \(expiresAt) FROM (
                    SELECT id FROM app.users WHERE id = \(user) AND is_active FOR SHARE) AS u
                ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at
                WHERE s.user_id = excluded.user_id AND s.revoked_at IS NULL AND s.expires_at < excluded.expires_at
                """)
        }
        return (user, isActive)
    }

    /// What becomes of a refresh token that a client presents.
    public enum Refresh: Sendable {
        /// It is spent now, and the new one stands in its place.
        case renewed(user: User, signIn: SignInID)
        /// It was spent before: somebody else has it, too, so the whole family is revoked.
        case reused
        /// It is unknown, expired or revoked.
        case refused
        /// Its user was deactivated.
        case inactive
    }

    /// Spends a refresh token for a new one.
    ///
    /// The token's row is locked first: of two clients that present it at once, the second finds it spent.
    public func refresh(hash: [UInt8], newHash: [UInt8], lifetime: Duration) async throws -> Refresh {
        try await pool.withTransaction { connection in
            let rows = try await connection.query(
                """
                SELECT t.spent_at IS NOT NULL AS is_spent, s.id AS sign_in,
                       s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
                         AND t.expires_at > clock_timestamp() AS is_valid,
                       u.id, u.email, u.full_name, u.role, u.is_active
                FROM app.refresh_tokens t
                JOIN app.auth_sessions s ON s.id = t.auth_session_id
                JOIN app.users u ON u.id = s.user_id
                WHERE t.token_hash = \(hash)
                FOR UPDATE OF t
                """)
            guard let row = rows.first else { return .refused }
            let signIn = try row.decode("sign_in", as: SignInID.self)
            if try row.decode("is_spent", as: Bool.self) {
                _ = try await connection.execute(
                    """
                    UPDATE app.auth_sessions SET revoked_at = clock_timestamp(), revoked_reason = 'refresh_token_reused'
                    WHERE id = \(signIn) AND revoked_at IS NULL
                    """)
                return .reused
            }
            guard try row.decode("is_valid", as: Bool.self) else { return .refused }
            guard try row.decode("is_active", as: Bool.self) else { return .inactive }
            _ = try await connection.execute(
                "UPDATE app.refresh_tokens SET spent_at = clock_timestamp() WHERE token_hash = \(hash)")
            _ = try await connection.execute(
                """
                WITH sign_in AS (
                    UPDATE app.auth_sessions
                    SET expires_at = clock_timestamp() + make_interval(secs => \(lifetime.inSeconds))
                    WHERE id = \(signIn) RETURNING id, expires_at
                )
                INSERT INTO app.refresh_tokens (token_hash, auth_session_id, expires_at)
                SELECT \(newHash), id, expires_at FROM sign_in
                """)
            return .renewed(user: try User(row), signIn: signIn)
        }
    }

    /// Ends a sign-in: its tokens are worth nothing from the commit on, and what was opened under it ends.
    public func end(_ signIn: SignInID) async throws {
        _ = try await pool.execute(
            """
            UPDATE app.auth_sessions SET revoked_at = clock_timestamp(), revoked_reason = 'signed_out'
            WHERE id = \(signIn) AND revoked_at IS NULL
            """)
    }
}

/// A statement answered what it cannot answer.
enum StoreError: Error {
    /// A statement that always gives a row gave none.
    case noRow
}

extension Duration {
    /// Seconds with their fraction, as PostgreSQL's `make_interval(secs =>)` takes them.
    var inSeconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) / 1e18
    }
}
