public import Domain
public import Postgres

/// The sign-ins and their refresh tokens: `app.auth_sessions`, `app.refresh_tokens`.
///
/// The server's role cannot read these tables. It can only call the functions of this store.
public struct SignInStore: Sendable {
    private let pool: PostgresPool

    /// A store that borrows its connections from a pool.
    public init(pool: PostgresPool) { self.pool = pool }

    /// How long sign-ins last, and how many an account may have.
    public struct Terms: Sendable {
        /// How long a sign-in lasts without a refresh.
        public var lifetime: Duration
        /// How long a sign-in lasts with refreshes.
        public var maximumAge: Duration
        /// The greatest number of sign-ins of an account.
        ///
        /// Beyond it, the oldest one ends.
        public var maximumCount: Int
        /// The time in which a spent refresh token is answered again.
        public var grace: Duration

        /// Terms with all members.
        public init(lifetime: Duration, maximumAge: Duration, maximumCount: Int, grace: Duration) {
            self.lifetime = lifetime
            self.maximumAge = maximumAge
            self.maximumCount = maximumCount
            self.grace = grace
        }
    }

    /// What the account's user can recognize a client by.
    public struct Client: Sendable {
        /// The longest `userAgent`, in Unicode scalars.
        public static let maximumLength = 500

        /// The `User-Agent`.
        public var userAgent: String?
        /// The network address, in its text form.
        public var address: String?

        /// A client; the user agent is cut to ``maximumLength``.
        public init(userAgent: String?, address: String?) {
            self.userAgent = userAgent.map { $0.shown(limit: Self.maximumLength) }
            self.address = address
        }
    }

    /// A sign-in that begins or goes on.
    public struct Period: Sendable {
        /// The sign-in.
        public var signIn: SignInID
        /// When it ends without a refresh.
        public var endsAt: Timestamp
    }

    /// Begins a sign-in with a password.
    ///
    /// The statement locks the user's row until the sign-in exists. A concurrent deactivation therefore ends this
    /// sign-in with the others, or prevents it.
    ///
    /// - Parameters:
    ///   - user: The user who signs in.
    ///   - presented: The hash that the server has computed from the password.
    ///   - refreshHash: The hash of the first refresh token.
    ///   - terms: How long the sign-in lasts.
    ///   - client: The client.
    /// - Returns: The sign-in; nil if the user is gone, inactive, or has another password by now.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func begin(
        user: UserID, presented: String, refreshHash: [UInt8], terms: Terms, client: Client
    ) async throws -> Period? {
        let rows = try await pool.query(
            """
            SELECT * FROM app.begin_sign_in(
                \(user), \(presented), \(refreshHash), \(terms.lifetime), \(terms.maximumAge),
                \(Int32(clamping: terms.maximumCount)), \(client.userAgent), \(client.address)::text::inet)
            """)
        return try rows.first.map(Period.init)
    }

    /// Begins a sign-in without a password, for a token of an operator.
    ///
    /// - Parameters:
    ///   - user: The user.
    ///   - lifetime: How long the sign-in lasts.
    /// - Returns: The sign-in; nil if the user is gone or inactive.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 42501 if the connection is not one of
    ///   the schema's owner.
    public func beginForOperator(user: UserID, lifetime: Duration) async throws -> SignInID? {
        let rows = try await pool.query("SELECT app.begin_operator_sign_in(\(user), \(lifetime)) AS id")
        return try rows.first?.decode("id", as: SignInID?.self)
    }

    /// Finds the user of a token of an identity provider, and creates the sign-in if it is new.
    ///
    /// The sign-in is like any other: it can be ended, and then stays ended.
    ///
    /// - Parameters:
    ///   - signIn: The id of the sign-in, the same for all its tokens.
    ///   - issuer: The issuer of the token.
    ///   - email: The user's address.
    ///   - expiresAt: When the token expires. The sign-in lasts as long as the last of its tokens.
    ///   - terms: The greatest age of the sign-in, and the greatest number of sign-ins.
    ///   - client: The client.
    /// - Returns: The user, active or not; nil if no account has the address.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 42501 if the owner of the schema has not
    ///   registered the issuer.
    public func admit(
        _ signIn: SignInID, issuer: String, email: EmailAddress, expiresAt: Timestamp, terms: Terms, client: Client
    ) async throws -> (user: UserID, isActive: Bool)? {
        let rows = try await pool.query(
            """
            SELECT * FROM app.admit_sign_in(
                \(signIn), \(issuer), \(email.description), \(expiresAt), \(terms.maximumAge),
                \(Int32(clamping: terms.maximumCount)), \(client.userAgent), \(client.address)::text::inet)
            """)
        return try rows.first.map {
            (try $0.decode("user_id", as: UserID.self), try $0.decode("is_active", as: Bool.self))
        }
    }

    /// The outcome of a refresh.
    public enum Refresh: Sendable {
        /// The new token is good. The presented one is spent.
        case renewed(user: User, period: Period)
        /// The token must not be used any more. Somebody has copied it. The whole sign-in is therefore revoked.
        case reused
        /// The token is unknown, expired or ended.
        case refused
        /// The user is inactive.
        case inactive
    }

    /// Spends a refresh token for a new one, or answers a token again that was spent a moment ago.
    ///
    /// `app.refresh_sign_in` decides, under one lock on the sign-in. The transaction lets the token stay good if this
    /// release cannot read the user.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` for a role that this release does
    ///   not know.
    public func refresh(hash: [UInt8], newHash: [UInt8], terms: Terms, client: Client) async throws -> Refresh {
        try await pool.withTransaction { connection -> Refresh in
            let rows = try await connection.query(
                """
                SELECT * FROM app.refresh_sign_in(
                    \(hash), \(newHash), \(terms.lifetime), \(terms.maximumAge), \(terms.grace),
                    \(client.userAgent), \(client.address)::text::inet)
                """)
            guard let row = rows.first else { throw StoreError.noRow }
            return switch try row.decode("outcome", as: String.self) {
            case "renewed", "repeated": .renewed(user: try User(row), period: try Period(row))
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

extension SignInStore.Period {
    /// Reads the columns `sign_in` and `ends_at`.
    ///
    /// - Throws: ``PostgresError`` with code `decoding` if a column has another type.
    fileprivate init(_ row: PostgresRow) throws {
        self.init(
            signIn: try row.decode("sign_in", as: SignInID.self), endsAt: try row.decode("ends_at", as: Timestamp.self))
    }
}
