public import Domain
public import Postgres

/// The sign-ins and their refresh tokens: `app.auth_sessions`, `app.refresh_tokens`.
///
/// The server's role reads neither of them: it may ask the functions that are called here.
public struct SignInStore: Sendable {
    private let pool: PostgresPool

    /// Asks the database through a pool of connections.
    public init(pool: PostgresPool) { self.pool = pool }

    /// Begins a sign-in.
    ///
    /// The user's row is held until the sign-in is there, so it either ends with what ends the others, or does not
    /// begin.
    ///
    /// - Parameters:
    ///   - user: The user who signs in.
    ///   - passwordHash: The hash that the user's password was held against; nil when no password was asked for.
    ///   - refreshHash: The hash of its first refresh token; nil when it is to have none.
    ///   - lifetime: How long it may be refreshed.
    /// - Returns: The sign-in; nil when the user is gone or inactive meanwhile, or has another password.
    /// - Throws: ``PostgresError`` when the database cannot answer.
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

    /// Finds the user of a sign-in with an identity provider, and notes the sign-in when it is seen for the first time.
    ///
    /// It then stands here as any other: it can be ended, and stays ended.
    ///
    /// - Parameters:
    ///   - signIn: Names it, the same for all its tokens.
    ///   - email: The user's address.
    ///   - expiresAt: When the token expires; the sign-in lasts as long as the last of its tokens.
    /// - Returns: The user, active or not; nil when there is none of that address.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func admit(
        _ signIn: SignInID, email: EmailAddress, expiresAt: Timestamp
    ) async throws -> (user: UserID, isActive: Bool)? {
        let rows = try await pool.query(
            "SELECT * FROM app.admit_sign_in(\(signIn), \(email.description), \(expiresAt))")
        return try rows.first.map {
            (try $0.decode("user_id", as: UserID.self), try $0.decode("is_active", as: Bool.self))
        }
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
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func refresh(hash: [UInt8], newHash: [UInt8], lifetime: Duration) async throws -> Refresh {
        let rows = try await pool.query(
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

    /// Ends a sign-in: its tokens are worth nothing from the commit on, and what was opened under it ends.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func end(_ signIn: SignInID) async throws {
        _ = try await pool.query("SELECT app.end_sign_in(\(signIn))")
    }

    /// Ends the sign-in that a refresh token belongs to, be the token spent, expired or good.
    ///
    /// - Returns: False when there is no such token.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func end(refreshHash: [UInt8]) async throws -> Bool {
        let rows = try await pool.query("SELECT app.end_sign_in_of(\(refreshHash)) AS is_known")
        return try rows.first?.decode("is_known", as: Bool.self) ?? false
    }

    /// How many rows ``forget(olderThan:)`` removes at once.
    private static let portion: Int32 = 10_000

    /// Removes the sign-ins, and the refresh tokens, whose time has been over for longer than `age`.
    ///
    /// - Returns: How many rows went.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func forget(olderThan age: Duration) async throws -> Int {
        let rows = try await pool.query(
            "SELECT app.delete_expired_sign_ins(\(age), \(Self.portion)) AS forgotten")
        return try rows.first?.decode("forgotten", as: Int.self) ?? 0
    }
}
