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
    /// The row of the sign-in is locked first, so that those who come at once are counted one after the other.
    ///
    /// - Parameters:
    ///   - session: Whose stream it opens; nil for the stream of all.
    ///   - accessExpiresAt: When the access token expires with which it is asked for.
    public func issue(
        hash: [UInt8], for principal: Principal, to session: SessionID?, accessExpiresAt: Timestamp
    ) async throws -> Issue {
        try await pool.withTransaction { connection in
            let signIns = try await connection.query(
                """
                SELECT FROM app.auth_sessions
                WHERE id = \(principal.signIn) AND user_id = \(principal.user)
                  AND revoked_at IS NULL AND expires_at > clock_timestamp()
                FOR NO KEY UPDATE
                """)
            guard !signIns.isEmpty else { return .notSignedIn }
            let issued = try await connection.execute(
                """
                WITH expired AS (
                    DELETE FROM app.stream_tickets
                    WHERE auth_session_id = \(principal.signIn) AND expires_at <= clock_timestamp()
                )
                INSERT INTO app.stream_tickets
                    (ticket_hash, auth_session_id, session_id, access_expires_at, expires_at)
                SELECT \(hash)::bytea, \(principal.signIn)::uuid, \(session)::uuid, \(accessExpiresAt)::timestamptz,
                       clock_timestamp() + make_interval(secs => \(Self.lifetime.inSeconds))
                WHERE (SELECT count(*) FROM app.stream_tickets
                       WHERE auth_session_id = \(principal.signIn) AND expires_at > clock_timestamp()) < \(Self.limit)
                """)
            return issued == 1 ? .issued : .tooMany
        }
    }

    /// For whom a ticket opens a stream.
    public struct Grant: Sendable {
        public var principal: Principal
        /// When the access token expires with which it was asked for: so does the stream.
        public var accessExpiresAt: Timestamp
    }

    /// Uses a ticket.
    ///
    /// Of those who delete a row at once, one has deleted it, and the others find none.
    ///
    /// - Parameter session: Whose stream it is to open; nil for the stream of all.
    /// - Returns: Nil when it is unknown, used, expired, or for another stream. For another stream it is still good for
    ///   its own.
    public func spend(hash: [UInt8], on session: SessionID?) async throws -> Grant? {
        let rows = try await pool.query(
            """
            DELETE FROM app.stream_tickets t USING app.auth_sessions s
            WHERE t.ticket_hash = \(hash) AND t.session_id IS NOT DISTINCT FROM \(session)::uuid
              AND t.expires_at > clock_timestamp() AND s.id = t.auth_session_id
            RETURNING s.user_id, s.id AS sign_in, t.access_expires_at
            """)
        return try rows.first.map(Grant.init)
    }

    /// Looks at a ticket, and leaves it good.
    ///
    /// - Returns: What ``spend(hash:on:)`` would.
    public func look(hash: [UInt8], on session: SessionID?) async throws -> Grant? {
        let rows = try await pool.query(
            """
            SELECT s.user_id, s.id AS sign_in, t.access_expires_at
            FROM app.stream_tickets t JOIN app.auth_sessions s ON s.id = t.auth_session_id
            WHERE t.ticket_hash = \(hash) AND t.session_id IS NOT DISTINCT FROM \(session)::uuid
              AND t.expires_at > clock_timestamp()
            """)
        return try rows.first.map(Grant.init)
    }

    /// Removes the tickets that nobody has used in time.
    ///
    /// - Returns: How many there were.
    public func removeExpired() async throws -> Int {
        try await pool.execute("DELETE FROM app.stream_tickets WHERE expires_at <= clock_timestamp()")
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
