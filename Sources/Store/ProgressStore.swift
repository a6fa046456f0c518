public import Domain
public import FoundationEssentials
public import Postgres

/// The progress of sessions: `app.session_progress`, `app.session_events`.
public struct ProgressStore: Sendable {
    let pool: PostgresPool
    let merger: AccessMerger

    /// A store that borrows its connections from a pool.
    ///
    /// - Parameters:
    ///   - pool: The pool.
    ///   - merger: Decides which accesses are repeats. By default, each access is recorded at once.
    public init(pool: PostgresPool, merger: AccessMerger = .off) {
        self.pool = pool
        self.merger = merger
    }

    /// The transitions of a session that a user may see, oldest first.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - principal: The user and the user's sign-in.
    ///   - limit: The greatest number of transitions; of more, the newest. The number of retries of a session, and
    ///     therefore of its transitions, has no limit.
    /// - Returns: The transitions; empty if the user may see no such session.
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` for a status that this release
    ///   does not know.
    public func transitions(
        of session: SessionID, as principal: Principal, limit: Int = 1000
    ) async throws -> [StatusTransition] {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                """
                SELECT * FROM (
                    SELECT version, attempt, status, progress, message, error, segments, at FROM app.session_events
                    WHERE session_id = \(session) ORDER BY version DESC LIMIT \(limit)) newest
                ORDER BY version
                """
            ).map(StatusTransition.init)
        }
    }

    /// The progress of a session; nil if the user may see no such session.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` for a status that this release
    ///   does not know.
    public func progress(of session: SessionID, as principal: Principal) async throws -> SessionProgress? {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                "SELECT \(unescaped: progressColumns) FROM app.session_progress p WHERE p.session_id = \(session)"
            ).first.map(SessionProgress.init)
        }
    }

    /// The progress of a session; nil if the session does not exist, or if this release cannot read it.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func progress(of session: SessionID) async throws -> SessionProgress? {
        try await changes(of: [session], after: [0], ofPatients: nil, rightsSince: nil).changed.first?.progress
    }

    /// Reports progress; the state machine of the database checks the report.
    ///
    /// - Returns: The version of the session afterwards.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 23514 if the state machine forbids
    ///   the transition, 42501 for a lease that is missing or does not stand, 22023 for a number out of range, P0002 for
    ///   an unknown session.
    @discardableResult
    public func report(_ report: ProgressReport) async throws -> Int64 {
        let rows = try await pool.query(
            """
            SELECT app.report_progress(\(report.sessionID), \(report.status.rawValue), \(Int32(clamping: report.progress)),
                \(report.message), \(report.error), \(report.estimatedTimeRemaining.map(Int32.init(clamping:))),
                \(report.attempt.map(Int32.init(clamping:))), \(report.lease?.text)) AS version
            """, locking: report.sessionID)
        guard let row = rows.first else { throw StoreError.noRow }
        return try row.decode("version", as: Int64.self)
    }

    /// Reports progress for an upload, if the session still waits for that upload.
    ///
    /// - Returns: False if the session was deleted, or waits for another upload.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 23514 if the state machine forbids
    ///   the transition.
    public func reportUpload(
        _ upload: UUID, of session: SessionID, status: SessionStatus, progress: Int, message: String? = nil,
        error: String? = nil
    ) async throws -> Bool {
        let rows = try await pool.query(
            """
            SELECT app.report_upload(\(session), \(upload), \(status.rawValue), \(Int32(clamping: progress)), \(message),
                                     \(error)) AS version
            """, locking: session)
        return try rows.first?.decode("version", as: Int64?.self) != nil
    }

    /// Fails the sessions whose upload is dead: it has made no progress for a while, and its server no longer extends
    /// it.
    ///
    /// - Parameter age: The time without progress.
    /// - Returns: The number of failed sessions.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func failAbandonedUploads(olderThan age: Duration) async throws -> Int {
        let rows = try await pool.query(
            "SELECT app.fail_abandoned_uploads(\(age)) AS total")
        return Int(try rows.first?.decode("total", as: Int32.self) ?? 0)
    }

    /// Sends a failed session back to `pending`.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - again: True to send a processed session back, too.
    ///   - principal: The user and the user's sign-in.
    /// - Returns: The progress afterwards; nil if the user manages no such session.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 23514 if the session has not
    ///   failed, or with `again` is not finished, or has no recording.
    public func retry(
        _ session: SessionID, again: Bool = false, as principal: Principal
    ) async throws -> SessionProgress? {
        try await manage(session, as: principal) { connection in
            try await connection.execute(
                """
                SELECT app.retry_session(t.id, \(again)) FROM app.therapy_sessions t
                WHERE t.id = \(session) AND app.acting_may(\(SessionAction.manage.rawValue), t.patient_id)
                """) > 0
        }
    }

    /// Ends the upload or the processing of a session, which fails as cancelled.
    ///
    /// - Returns: The progress afterwards; nil if the user manages no such session.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 23514 if the session is finished.
    public func cancel(_ session: SessionID, as principal: Principal) async throws -> SessionProgress? {
        try await manage(session, as: principal) { connection in
            try await connection.execute(
                """
                SELECT app.cancel_session(t.id) FROM app.therapy_sessions t
                WHERE t.id = \(session) AND app.acting_may(\(SessionAction.manage.rawValue), t.patient_id)
                """) > 0
        }
    }

    /// Changes a session, and returns its progress afterwards; nil if `change` finds no session that the user manages.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` for a status that this release
    ///   does not know; what `change` throws.
    private func manage(
        _ session: SessionID, as principal: Principal, _ change: (PostgresConnection) async throws -> Bool
    ) async throws -> SessionProgress? {
        try await pool.acting(as: principal, locking: session) { connection in
            guard try await change(connection) else { return nil }
            return try await connection.query(
                "SELECT \(unescaped: progressColumns) FROM app.session_progress p WHERE p.session_id = \(session)"
            ).first.map(SessionProgress.init)
        }
    }
}

/// The columns of a progress object, from `app.session_progress p`.
let progressColumns = """
    p.session_id, p.status, p.progress, p.message, p.error, p.estimated_time_remaining, p.segments, p.version, p.attempt,
    p.created_at, p.updated_at
    """

extension SessionProgress {
    /// Reads the columns `progressColumns`.
    ///
    /// - Throws: ``UnreadableRow`` for a status that this release does not know; ``PostgresError`` with code `decoding`
    ///   if a column has another type.
    init(_ row: PostgresRow) throws {
        self.init(
            sessionID: try row.decode("session_id", as: SessionID.self),
            status: try row.status("status"),
            progress: Int(try row.decode("progress", as: Int16.self)),
            message: try row.decode("message", as: String?.self),
            error: try row.decode("error", as: String?.self),
            estimatedTimeRemaining: try row.decode("estimated_time_remaining", as: Int32?.self).map(Int.init),
            segments: Int(try row.decode("segments", as: Int32.self)),
            version: try row.decode("version", as: Int64.self),
            attempt: Int(try row.decode("attempt", as: Int32.self)),
            createdAt: try row.decode("created_at", as: Timestamp.self),
            updatedAt: try row.decode("updated_at", as: Timestamp.self))
    }
}

extension StatusTransition {
    /// Reads the columns of a transition.
    ///
    /// - Throws: What `init(_:prefix:)` throws.
    init(_ row: PostgresRow) throws {
        try self.init(row, prefix: "")
    }

    /// Reads a transition from columns whose names have a prefix.
    ///
    /// - Throws: ``UnreadableRow`` for a status that this release does not know; ``PostgresError`` with code `decoding`
    ///   if a column has another type.
    init(_ row: PostgresRow, prefix: String) throws {
        self.init(
            version: try row.decode(prefix + "version", as: Int64.self),
            attempt: Int(try row.decode(prefix + "attempt", as: Int32.self)),
            status: try row.status(prefix + "status"),
            progress: Int(try row.decode(prefix + "progress", as: Int16.self)),
            message: try row.decode(prefix + "message", as: String?.self),
            error: try row.decode(prefix + "error", as: String?.self),
            segments: Int(try row.decode(prefix + "segments", as: Int32.self)),
            at: try row.decode(prefix + "at", as: Timestamp.self))
    }
}
