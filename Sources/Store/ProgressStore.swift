public import Domain
public import Postgres

/// What one statement says about a user who wants a session: user, session, right and present state together.
public struct SessionOpening: Sendable {
    /// Why the user is not let in, or that the user is.
    public enum Verdict: Sendable, Equatable {
        /// The user no longer exists, or the sign-in behind the token has ended.
        case notSignedIn
        /// The account is inactive.
        case inactive
        /// There is no such session.
        case noSession
        /// The session is there; whether an action is permitted depends on role and relation.
        case found(role: Role, relation: Relation)
    }

    public var verdict: Verdict
    /// The state as it stands; nil unless the session was found.
    public var progress: SessionProgress?
    /// The epoch of rights in the same snapshot: as long as it stays, so does the verdict.
    public var rightsEpoch: Int64
}

/// The progress of sessions: `app.session_progress`, `app.session_events`.
public struct ProgressStore: Sendable {
    private let pool: PostgresPool

    public init(pool: PostgresPool) { self.pool = pool }

    /// Asks for user, session, right and present state in one statement.
    public func open(_ session: SessionID, user: UserID, signIn: SignInID) async throws -> SessionOpening {
        let rows = try await pool.query(
            "SELECT * FROM app.open_session(\(user), \(signIn), \(session))")
        guard let row = rows.first else { throw StoreError.noRow }
        let epoch = try row.decode("rights_epoch", as: Int64.self)
        guard try row.decode("user_found", as: Bool.self), try row.decode("signed_in", as: Bool.self) else {
            return SessionOpening(verdict: .notSignedIn, progress: nil, rightsEpoch: epoch)
        }
        guard try row.decode("user_active", as: Bool.self) else {
            return SessionOpening(verdict: .inactive, progress: nil, rightsEpoch: epoch)
        }
        guard try row.decode("session_found", as: Bool.self) else {
            return SessionOpening(verdict: .noSession, progress: nil, rightsEpoch: epoch)
        }
        let relation = Relation(
            isPatient: try row.decode("is_patient", as: Bool.self),
            isAssigned: try row.decode("is_assigned", as: Bool.self))
        return SessionOpening(
            verdict: .found(role: try row.decode("user_role", as: Role.self), relation: relation),
            progress: try SessionProgress(row), rightsEpoch: epoch)
    }

    /// The transitions of a session after a version, oldest first.
    ///
    /// - Parameters:
    ///   - version: 0 for all.
    ///   - limit: At most this many, the newest: a session that is retried without end has no end of transitions.
    public func transitions(
        of session: SessionID, after version: Int64 = 0, limit: Int = 1000
    ) async throws -> [StatusTransition] {
        try await pool.query(
            """
            SELECT * FROM (
                SELECT version, attempt, status, progress, message, error, at FROM app.session_events
                WHERE session_id = \(session) AND version > \(version)
                ORDER BY version DESC LIMIT \(limit)) newest
            ORDER BY version
            """
        ).map(StatusTransition.init)
    }

    /// The progress of a session; nil when there is none.
    public func progress(of session: SessionID) async throws -> SessionProgress? {
        try await pool.query(
            "SELECT \(unescaped: progressColumns) FROM app.session_progress p WHERE p.session_id = \(session)"
        ).first.map(SessionProgress.init)
    }

    /// What each session that changed has come to, for sessions with the version that each is known at.
    ///
    /// - Returns: The sessions newer than known, each with the transitions since; all that exist; the epoch of rights.
    ///   All from one snapshot.
    public func changes(
        after versions: [SessionID: Int64]
    ) async throws -> (changed: [(SessionProgress, [StatusTransition])], existing: Set<SessionID>, rightsEpoch: Int64) {
        let ids = Array(versions.keys)
        let known = ids.map { versions[$0] ?? 0 }
        let rows = try await pool.query(
            """
            SELECT \(unescaped: progressColumns), r.epoch AS rights_epoch,
                   e.version AS e_version, e.attempt AS e_attempt, e.status AS e_status, e.progress AS e_progress,
                   e.message AS e_message, e.error AS e_error, e.at AS e_at
            FROM app.rights_epoch r
            LEFT JOIN (
                unnest(\(ids), \(known)) AS w (id, known)
                JOIN app.session_progress p ON p.session_id = w.id
                LEFT JOIN app.session_events e ON e.session_id = w.id AND e.version > w.known AND p.version > w.known
            ) ON true
            ORDER BY p.session_id, e.version
            """)
        var changed: [(SessionProgress, [StatusTransition])] = []
        var existing: Set<SessionID> = []
        var rightsEpoch: Int64 = 0
        for row in rows {
            rightsEpoch = try row.decode("rights_epoch", as: Int64.self)
            guard let session = try row.decode("session_id", as: SessionID?.self) else { continue }
            let isFirst = existing.insert(session).inserted
            guard try row.decode("version", as: Int64.self) > versions[session] ?? 0 else { continue }
            if isFirst { changed.append((try SessionProgress(row), [])) }
            if try row.decode("e_version", as: Int64?.self) != nil {
                changed[changed.count - 1].1.append(try StatusTransition(row, prefix: "e_"))
            }
        }
        return (changed, existing, rightsEpoch)
    }

    /// Reports progress, held against the state machine.
    ///
    /// - Returns: The version that stands afterwards.
    /// - Throws: `PostgresError` with SQLSTATE 23514 for what the state machine forbids, 22023 for a number out of range,
    ///   P0002 for an unknown session.
    @discardableResult
    public func report(_ report: ProgressReport) async throws -> Int64 {
        let rows = try await pool.query(
            """
            SELECT app.report_progress(\(report.sessionID), \(report.status.rawValue), \(Int32(clamping: report.progress)),
                \(report.message), \(report.error), \(report.estimatedTimeRemaining.map(Int32.init(clamping:))),
                \(report.attempt.map(Int32.init(clamping:)))) AS version
            """)
        guard let row = rows.first else { throw StoreError.noRow }
        return try row.decode("version", as: Int64.self)
    }

    /// Fails the sessions whose upload has shown no progress for a while: the server that received it has died.
    ///
    /// - Returns: How many there were.
    public func failAbandonedUploads(olderThan age: Duration) async throws -> Int {
        let rows = try await pool.query(
            "SELECT app.fail_abandoned_uploads(make_interval(secs => \(age.inSeconds))) AS total")
        return Int(try rows.first?.decode("total", as: Int32.self) ?? 0)
    }

    /// Sends a failed session back to where it waits for a worker.
    public func retry(_ session: SessionID) async throws {
        _ = try await pool.query("SELECT app.retry_session(\(session))")
    }
}

/// The columns of a progress object, from `app.session_progress p`.
let progressColumns = """
    p.session_id, p.status, p.progress, p.message, p.error, p.estimated_time_remaining, p.version, p.attempt,
    p.created_at, p.updated_at
    """

extension SessionProgress {
    init(_ row: PostgresRow) throws {
        self.init(
            sessionID: try row.decode("session_id", as: SessionID.self),
            status: try row.decode("status", as: SessionStatus.self),
            progress: Int(try row.decode("progress", as: Int16.self)),
            message: try row.decode("message", as: String?.self),
            error: try row.decode("error", as: String?.self),
            estimatedTimeRemaining: try row.decode("estimated_time_remaining", as: Int32?.self).map(Int.init),
            version: try row.decode("version", as: Int64.self),
            attempt: Int(try row.decode("attempt", as: Int32.self)),
            createdAt: try row.decode("created_at", as: Timestamp.self),
            updatedAt: try row.decode("updated_at", as: Timestamp.self))
    }
}

extension StatusTransition {
    init(_ row: PostgresRow) throws {
        try self.init(row, prefix: "")
    }

    init(_ row: PostgresRow, prefix: String) throws {
        self.init(
            version: try row.decode(prefix + "version", as: Int64.self),
            attempt: Int(try row.decode(prefix + "attempt", as: Int32.self)),
            status: try row.decode(prefix + "status", as: SessionStatus.self),
            progress: Int(try row.decode(prefix + "progress", as: Int16.self)),
            message: try row.decode(prefix + "message", as: String?.self),
            error: try row.decode(prefix + "error", as: String?.self),
            at: try row.decode(prefix + "at", as: Timestamp.self))
    }
}
