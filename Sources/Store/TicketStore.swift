public import Domain
public import Postgres

/// The unused tickets for streams: `app.stream_tickets`.
///
/// All servers of a database share the tickets. A ticket works once, on any of them.
public struct TicketStore: Sendable {
    /// How long a client can use a ticket.
    public static let lifetime = Duration.seconds(30)
    /// The greatest number of unused tickets of one sign-in.
    ///
    /// A page asks for a ticket when it opens a stream, and uses it at once. More than a few unused tickets come from a
    /// fault or an attack.
    static let limit: Int64 = 50

    private let pool: PostgresPool

    /// A store that borrows its connections from a pool.
    public init(pool: PostgresPool) { self.pool = pool }

    /// The outcome of a request for a ticket.
    public enum Issue: Sendable {
        /// The ticket is stored.
        case issued
        /// The sign-in has too many unused tickets.
        case tooMany
        /// The sign-in has ended.
        case notSignedIn
    }

    /// Stores a new ticket.
    ///
    /// - Parameters:
    ///   - hash: The hash of the ticket.
    ///   - principal: The user and the user's sign-in.
    ///   - session: The session whose stream the ticket opens; nil for the stream of all sessions.
    ///   - accessExpiresAt: When the access token of the request expires.
    /// - Returns: Whether the ticket is stored, or why not.
    /// - Throws: ``PostgresError`` if the database does not answer.
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

    /// The credential behind a ticket.
    public struct Grant: Sendable {
        /// The user, and the sign-in that asked for the ticket.
        public var principal: Principal
        /// When the access token that asked for the ticket expires.
        ///
        /// The stream ends at the same time.
        public var accessExpiresAt: Timestamp
    }

    /// Uses a ticket.
    ///
    /// One of several concurrent calls with the same ticket succeeds.
    ///
    /// - Parameters:
    ///   - hash: The hash of the ticket.
    ///   - session: The session whose stream the client opens; nil for the stream of all sessions.
    /// - Returns: The credential; nil if the ticket is unknown, used, expired, or for another stream. A ticket for
    ///   another stream stays good.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func spend(hash: [UInt8], on session: SessionID?) async throws -> Grant? {
        try await pool.query("SELECT * FROM app.spend_ticket(\(hash), \(session))").first.map(Grant.init)
    }

    /// Checks a ticket without using it.
    ///
    /// - Returns: The same as ``spend(hash:on:)``.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func look(hash: [UInt8], on session: SessionID?) async throws -> Grant? {
        try await pool.query("SELECT * FROM app.peek_ticket(\(hash), \(session))").first.map(Grant.init)
    }

    /// Deletes expired tickets.
    ///
    /// - Returns: The number of deleted tickets.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func removeExpired() async throws -> Int {
        let rows = try await pool.query("SELECT app.delete_expired_tickets() AS deleted")
        return try rows.first?.decode("deleted", as: Int.self) ?? 0
    }
}

extension TicketStore.Grant {
    /// Reads a row of `app.spend_ticket` or `app.peek_ticket`.
    ///
    /// - Throws: ``PostgresError`` with code `decoding` if a column has another type.
    fileprivate init(_ row: PostgresRow) throws {
        self.init(
            principal: Principal(
                user: try row.decode("user_id", as: UserID.self), signIn: try row.decode("sign_in", as: SignInID.self)),
            accessExpiresAt: try row.decode("access_expires_at", as: Timestamp.self))
    }
}
