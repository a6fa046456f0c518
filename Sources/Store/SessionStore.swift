public import Domain
public import Postgres

/// The sessions and their results: `app.therapy_sessions`, `app.transcripts`, `app.notes`.
///
/// A method with a principal runs as that user: it neither shows nor changes rows that the user may not see.
public struct SessionStore: Sendable {
    let pool: PostgresPool

    /// A store that borrows its connections from a pool.
    public init(pool: PostgresPool) { self.pool = pool }

    /// A session; nil if the user may see no such session.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` for a status that this release
    ///   does not know.
    public func session(_ id: SessionID, as principal: Principal) async throws -> TherapySession? {
        try await pool.acting(as: principal) { try await Self.read(id, on: $0) }
    }

    /// Reads a session that the acting user may see.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; what `TherapySession.init` throws.
    private static func read(_ id: SessionID, on connection: PostgresConnection) async throws -> TherapySession? {
        try await connection.query(
            """
            SELECT \(unescaped: columns)
            FROM app.session_names(ARRAY[\(id)]::uuid[]) n
            \(unescaped: joins)
            WHERE t.id IS NOT NULL AND p.session_id IS NOT NULL
            """
        ).first.map(TherapySession.init)
    }

    /// What people may change of a session.
    public struct Change: Sendable, Equatable {
        /// When the session took place; nil keeps it, and a nil inside clears it.
        public var sessionDate: Timestamp??
        /// The language; nil keeps it, and a nil inside clears it.
        public var language: LanguageTag??

        /// A change of the given members.
        public init(sessionDate: Timestamp?? = nil, language: LanguageTag?? = nil) {
            self.sessionDate = sessionDate
            self.language = language
        }
    }

    /// Changes a session, whose progress stays as it is.
    ///
    /// - Returns: The session afterwards; nil if the user manages no such session.
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` for a status that this release
    ///   does not know.
    public func change(
        _ session: SessionID, _ change: Change, as principal: Principal
    ) async throws -> TherapySession? {
        try await pool.acting(as: principal, locking: session) { connection in
            let changed = try await connection.query(
                """
                SELECT app.change_session(
                    \(session), \(change.sessionDate != nil), \(change.sessionDate ?? nil), \(change.language != nil),
                    \((change.language ?? nil)?.description)) AS changed
                """
            ).first?.decode("changed", as: Bool.self)
            guard changed == true else { return nil }
            return try await Self.read(session, on: connection)
        }
    }

    /// The language of a session, for a worker, which acts for no user; nil if it is not known.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func language(of session: SessionID) async throws -> LanguageTag? {
        try await pool.query("SELECT app.session_language(\(session)) AS language")
            .first?.decode("language", as: String?.self).flatMap(LanguageTag.init)
    }

    /// Deletes a session with its rows in all tables, and ends its streams.
    ///
    /// The same commit adds its recording to those of ``takeDiscardedRecordings()``.
    ///
    /// - Returns: False if the user manages no such session.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func delete(_ session: SessionID, as principal: Principal) async throws -> Bool {
        try await pool.acting(as: principal, locking: session) { connection in
            try await connection.execute("DELETE FROM app.therapy_sessions WHERE id = \(session)") > 0
        }
    }

    /// Stores the length of a recording, as a worker measured it.
    ///
    /// A transcript that carries a length replaces it.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func setLength(_ length: RecordingLength, of session: SessionID) async throws {
        _ = try await pool.query(
            "SELECT app.set_length(\(session), \(length.decoded), \(length.announced), \(length.hasCutTrack))",
            locking: session)
    }

    /// The length of a recording, for a worker, which acts for no user; without numbers if the session is gone.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func length(of session: SessionID) async throws -> RecordingLength {
        try await pool.query("SELECT * FROM app.recording_length(\(session))")
            .first.map(RecordingLength.init) ?? RecordingLength(decoded: nil, announced: nil)
    }

    /// The notes as JSON, in their stored form; nil if the session has no notes that the user may read.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func notes(of session: SessionID, as principal: Principal) async throws -> String? {
        try await pool.acting(as: principal) { try await Self.readNotes(of: session, on: $0) }
    }

    /// Reads the notes of a session that the acting user may read.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    static func readNotes(of session: SessionID, on connection: PostgresConnection) async throws -> String? {
        try await connection.query("SELECT body::text AS body FROM app.notes WHERE session_id = \(session)")
            .first?.decode("body", as: String.self)
    }

    /// Adds the rows `t` and `p` to rows `n` with a `session_id`; nulls if the acting user sees no such session.
    ///
    /// OFFSET 0 makes PostgreSQL look each row up by its key. Without statistics, it would read the tables whole.
    static let joins = """
        LEFT JOIN LATERAL (SELECT * FROM app.therapy_sessions s WHERE s.id = n.session_id OFFSET 0) t ON true
        LEFT JOIN LATERAL (SELECT * FROM app.session_progress s WHERE s.session_id = n.session_id OFFSET 0) p ON true
        """

    /// The columns that `TherapySession.init` reads: of a function's result with names `n`, `app.therapy_sessions t` and
    /// `app.session_progress p`.
    static let columns = """
        t.id, t.patient_id, n.patient_name, t.therapist_id, n.therapist_name, t.session_date, t.filename, t.bytes, t.duration_seconds, t.language,
        t.created_at AS session_created_at, \(progressColumns)
        """
}

extension RecordingLength {
    /// Reads the columns of `app.recording_length`.
    ///
    /// - Throws: ``PostgresError`` with code `decoding` if a column has another type.
    init(_ row: PostgresRow) throws {
        self.init(
            decoded: try row.decode("duration_seconds", as: Double?.self),
            announced: try row.decode("announced_seconds", as: Double?.self),
            hasCutTrack: try row.decode("has_cut_track", as: Bool.self))
    }
}

extension TherapySession {
    /// Reads the columns `SessionStore.columns`.
    ///
    /// - Throws: ``UnreadableRow`` for a status that this release does not know; ``PostgresError`` with code `decoding`
    ///   if a column has another type.
    init(_ row: PostgresRow) throws {
        self.init(
            id: try row.decode("id", as: SessionID.self),
            patientID: try row.decode("patient_id", as: UserID.self),
            patientName: try row.decode("patient_name", as: String?.self),
            therapistID: try row.decode("therapist_id", as: UserID?.self),
            therapistName: try row.decode("therapist_name", as: String?.self),
            sessionDate: try row.decode("session_date", as: Timestamp?.self),
            filename: try row.decode("filename", as: String?.self),
            bytes: try row.decode("bytes", as: Int64?.self),
            durationSeconds: try row.decode("duration_seconds", as: Double?.self),
            language: try row.decode("language", as: String?.self).flatMap(LanguageTag.init),
            createdAt: try row.decode("session_created_at", as: Timestamp.self),
            progress: try SessionProgress(row))
    }
}
