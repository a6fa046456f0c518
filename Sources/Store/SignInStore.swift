public import Domain
public import Postgres

/// The sign-ins and their refresh tokens: `app.auth_sessions`, `app.refresh_tokens`.
///
/// The server's role cannot read these tables. It can only call the functions of this store.
public struct SignInStore: Sendable {
    private let pool: PostgresPool

    /// A store that borrows its connections from a pool.
    public init(pool: PostgresPool) { self.pool = pool }

    /// Begins a sign-in.
    ///
    /// The statement locks the user's row until the sign-in exists. A concurrent deactivation therefore ends this
    /// sign-in with the others, or prevents it.
    ///
    /// - Parameters:
    ///   - user: The user who signs in.
    ///   - passwordHash: The hash that the password was checked against; nil without a password.
    ///   - refreshHash: The hash of the first refresh token; nil for a sign-in without refresh tokens.
    ///   - lifetime: How long the sign-in lasts without a refresh.
    /// - Returns: The sign-in; nil if the user is gone, inactive, or has another password by now.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 42501 if the server's role gives
    ///   no password hash.
    public func begin(
        user: UserID, passwordHash: String? = nil, refreshHash: [UInt8]?, lifetime: Duration
    ) async throws -> SignInID? {
        let rows = try await pool.query(
            """
            SELECT app.begin_sign_in(
                \(user), \(passwordHash), \(refreshHash), \(lifetime)) AS id
            """)
        return try rows.first?.decode("id", as: SignInID?.self)
    }

    /// Finds the user of a token of an identity provider, and creates the sign-in if it is new.
    ///
    /// The sign-in is like any other: it can be ended, and then stays ended.
    ///
    /// - Parameters:
    ///   - signIn: The id of the sign-in, the same for all its tokens.
    ///   - email: The user's address.
    ///   - expiresAt: When the token expires. The sign-in lasts as long as the last of its tokens.
    /// - Returns: The user, active or not; nil if no account has the address.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func admit(
        _ signIn: SignInID, email: EmailAddress, expiresAt: Timestamp
    ) async throws -> (user: UserID, isActive: Bool)? {
        let rows = try await pool.query(
            "SELECT * FROM app.admit_sign_in(\(signIn), \(email.description), \(expiresAt))")
        return try rows.first.map {
            (try $0.decode("user_id", as: UserID.self), try $0.decode("is_active", as: Bool.self))
        }
    }

    /// The outcome of a refresh.
    public enum Refresh: Sendable {
        /// The token is spent, and the new one replaces it.
        case renewed(user: User, signIn: SignInID)
        /// The token was spent before. Somebody has copied it, so the whole sign-in is revoked.
        case reused
        /// The token is unknown, expired or revoked.
        case refused
        /// The user is inactive.
        case inactive
    }

    /// Spends a refresh token for a new one.
    ///
    /// The statement locks the token's row first: the second of two clients that present the token at once finds it
    /// spent. The transaction lets the token stay good if this release cannot read the user.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` for a role that this release does
    ///   not know.
    public func refresh(hash: [UInt8], newHash: [UInt8], lifetime: Duration) async throws -> Refresh {
        try await pool.withTransaction { connection -> Refresh in
            let rows = try await connection.query(
                """
                SELECT * FROM app.refresh_sign_in(\(hash), \(newHash), \(lifetime))
                """)
            guard let row = rows.first else { throw StoreError.noRow }
            return switch try row.decode("outcome", as: String.self) {
            case "renewed": .renewed(user: try User(row), signIn: try row.decode("sign_in", as: SignInID.self))
            case "reused": .reused
            case "inactive": .inactive
            default: .refused
            }
        }
    }

    /// Ends a sign-in: its tokens are invalid and its streams end from the commit on.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func end(_ signIn: SignInID) async throws {
        _ = try await pool.query("SELECT app.end_sign_in(\(signIn))")
    }

    /// Ends the sign-in of a refresh token, even of a spent or expired one.
    ///
    /// - Returns: False if no such token exists.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func end(refreshHash: [UInt8]) async throws -> Bool {
        let rows = try await pool.query("SELECT app.end_sign_in_of(\(refreshHash)) AS is_known")
        return try rows.first?.decode("is_known", as: Bool.self) ?? false
    }

    /// The greatest number of rows of each table that ``forget(olderThan:)`` deletes at once.
    private static let portion: Int32 = 10_000

    /// Deletes old sign-ins and refresh tokens.
    ///
    /// - Parameter age: How long ago the sign-in or token expired, at least a day.
    /// - Returns: The number of deleted rows.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func forget(olderThan age: Duration) async throws -> Int {
        let rows = try await pool.query(
            "SELECT app.delete_expired_sign_ins(\(age), \(Self.portion)) AS deleted")
        return try rows.first?.decode("deleted", as: Int.self) ?? 0
    }
}
