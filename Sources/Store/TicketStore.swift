public import Domain
public import Postgres

/// The tickets for streams that were not used yet: `app.stream_tickets`.
///
/// All servers of a database share them: a ticket is good at each of them, and once.
public struct TicketStore: Sendable {
    /// How long a ticket may be used.
    public static let lifetime = Duration.seconds(30)
    /// How many unused tickets a sign-in may have.
    ///
    /// A page that opens a stream asks for one and uses it: more than a few are the mark of a fault, or of somebody who
    /// hoards.
    static let limit: Int64 = 50

    private let pool: PostgresPool

    /// Asks the database through a pool of connections.
    public init(pool: PostgresPool) { self.pool = pool }

    /// What came of the wish for a ticket.
    public enum Issue: Sendable {
        /// It may be used.
        case issued
        /// The sign-in has as many as it may have.
        case tooMany
        /// The sign-in has ended.
        case notSignedIn
    }

    /// Stores a new ticket.
    ///
    /// - Parameters:
    ///   - hash: The hash of the ticket.
    ///   - principal: The user for whom it opens a stream, and the user's sign-in.
    ///   - session: The session whose stream it opens; nil for the stream of all.
    ///   - accessExpiresAt: When the access token expires with which it is asked for.
    /// - Returns: Whether it may be used, or why not.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func issue(
        hash: [UInt8], for principal: Principal, to session: SessionID?, accessExpiresAt: Timestamp
    ) async throws -> Issue {
        let rows = try await pool.query(
            """
            SELECT app.issue_ticket(
                \(hash), \(principal.user), \(principal.signIn), \(session), \(accessExpiresAt),
                \(Self.lifetime), \(Self.limit)) AS outcome
            """)
        return switch try rows.first?.decode("outcome", as: String.self) {
        case "issued": .issued
        case "too many": .tooMany
        default: .notSignedIn
        }
    }

    /// For whom a ticket opens a stream.
    public struct Grant: Sendable {
        /// The user, and the sign-in under which the ticket was asked for.
        public var principal: Principal
        /// When the access token expires with which it was asked for: so does the stream.
        public var accessExpiresAt: Timestamp
    }

    /// Uses a ticket: of those who come with it at once, one has it.
    ///
    /// - Parameters:
    ///   - hash: The hash of the ticket.
    ///   - session: The session whose stream it is to open; nil for the stream of all.
    /// - Returns: Nil when it is unknown, used, expired, or for another stream. For another stream it is still good for
    ///   its own.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func spend(hash: [UInt8], on session: SessionID?) async throws -> Grant? {
        try await pool.query("SELECT * FROM app.spend_ticket(\(hash), \(session))").first.map(Grant.init)
    }

    /// Looks at a ticket, and leaves it good.
    ///
    /// - Returns: What ``spend(hash:on:)`` would.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func look(hash: [UInt8], on session: SessionID?) async throws -> Grant? {
        try await pool.query("SELECT * FROM app.peek_ticket(\(hash), \(session))").first.map(Grant.init)
    }

    /// Removes the tickets that nobody has used in time.
    ///
    /// - Returns: How many there were.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func removeExpired() async throws -> Int {
        let rows = try await pool.query("SELECT app.delete_expired_tickets() AS forgotten")
        return try rows.first?.decode("forgotten", as: Int.self) ?? 0
    }
}

extension TicketStore.Grant {
    fileprivate init(_ row: PostgresRow) throws {
        self.init(
            principal: Principal(
                user: try row.decode("user_id", as: UserID.self), signIn: try row.decode("sign_in", as: SignInID.self)),
            accessExpiresAt: try row.decode("access_expires_at", as: Timestamp.self))
    }
}
