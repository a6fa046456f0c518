public import Domain
public import Postgres

/// A recording that has been stored, as it is entered into the database.
public struct StoredRecording: Sendable {
    /// The key under which the recording is found.
    public var key: String
    /// Its size in bytes.
    public var bytes: Int64
    /// Its SHA-256.
    public var sha256: [UInt8]

    public init(key: String, bytes: Int64, sha256: [UInt8]) {
        self.key = key
        self.bytes = bytes
        self.sha256 = sha256
    }
}

/// A session's recording, as it is fetched.
public struct RecordingReference: Sendable {
    /// The key under which the recording is found.
    public var key: String
    /// The name that the uploader gave it.
    public var filename: String?
    /// Its media type.
    public var mediaType: String?
}

/// The therapy sessions and what belongs to them: `app.therapy_sessions`, `app.transcripts`, `app.notes`.
///
/// Whatever is asked on behalf of a user is asked as that user: what the user may not see is not there, and not changed.
public struct SessionStore: Sendable {
    private let pool: PostgresPool

    public init(pool: PostgresPool) { self.pool = pool }

    /// Which sessions a list is to show.
    public struct Filter: Sendable {
        public var status: SessionStatus?
        public var patient: UserID?
        /// The session after which the page begins; nil for the first page.
        public var after: Cursor?
        /// At most this many sessions.
        public var limit: Int

        public init(status: SessionStatus? = nil, patient: UserID? = nil, after: Cursor? = nil, limit: Int) {
            self.status = status
            self.patient = patient
            self.after = after
            self.limit = limit
        }
    }

    /// A place in the list of sessions, which is ordered by time of creation and id.
    ///
    /// Unlike an offset it stays where it is when sessions are added in front.
    public struct Cursor: Sendable, Equatable, LosslessStringConvertible {
        public var createdAt: Timestamp
        public var id: SessionID

        public init(createdAt: Timestamp, id: SessionID) {
            self.createdAt = createdAt
            self.id = id
        }

        public init?(_ description: String) {
            let parts = description.split(separator: "_")
            guard parts.count == 2, let createdAt = Timestamp(cursor: parts[0]), let id = SessionID(String(parts[1]))
            else { return nil }
            self.init(createdAt: createdAt, id: id)
        }

        public var description: String { "\(createdAt.microsecondsSinceEpoch)_\(id)" }
    }

    /// The sessions that a user may see, newest first.
    public func list(for user: User, as principal: Principal, _ filter: Filter) async throws -> [TherapySession] {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                """
                SELECT \(unescaped: Self.columns)
                FROM app.therapy_sessions t JOIN app.session_progress p ON p.session_id = t.id
                WHERE CASE \(user.role.rawValue)
                        WHEN 'admin' THEN true
                        WHEN 'patient' THEN t.patient_id = \(user.id)
                        WHEN 'therapist' THEN t.patient_id IN (
                            SELECT a.patient_id FROM app.therapist_patients a
                            WHERE a.therapist_id = \(user.id) AND a.is_active)
                        ELSE false END
                  AND (\(filter.status?.rawValue)::text IS NULL OR p.status = \(filter.status?.rawValue))
                  AND (\(filter.patient)::uuid IS NULL OR t.patient_id = \(filter.patient))
                  AND (\(filter.after?.createdAt)::timestamptz IS NULL
                       OR (t.created_at, t.id) < (\(filter.after?.createdAt), \(filter.after?.id)))
                ORDER BY t.created_at DESC, t.id DESC
                LIMIT \(filter.limit)
                """
            ).map(TherapySession.init)
        }
    }

    /// A session; nil when there is none that the user may see.
    public func session(_ id: SessionID, as principal: Principal) async throws -> TherapySession? {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                """
                SELECT \(unescaped: Self.columns)
                FROM app.therapy_sessions t JOIN app.session_progress p ON p.session_id = t.id
                WHERE t.id = \(id)
                """
            ).first.map(TherapySession.init)
        }
    }

    /// Makes a session that waits for its recording, uploaded by the user.
    ///
    /// - Returns: False when there is a session of that id already.
    /// - Throws: `PostgresError` with SQLSTATE 42501 when the user may not upload for the patient.
    public func add(
        _ id: SessionID, patient: UserID, therapist: UserID?, date: Timestamp?, filename: String, mediaType: String,
        as principal: Principal
    ) async throws -> Bool {
        try await pool.acting(as: principal) { connection in
            try await connection.execute(
                """
                INSERT INTO app.therapy_sessions
                    (id, patient_id, therapist_id, session_date, filename, media_type, uploaded_by)
                VALUES (\(id), \(patient), \(therapist), coalesce(\(date)::timestamptz, now()), \(filename), \(mediaType),
                        \(principal.user))
                ON CONFLICT (id) DO NOTHING
                """) > 0
        }
    }

    /// Takes a session whose upload has failed for another upload, in one transaction.
    ///
    /// The session's row is locked first: of two that come at once, the second finds it taken.
    ///
    /// - Returns: The attempt that begins; nil when the session is not failed, has a recording, or is no more.
    public func beginAgain(
        _ id: SessionID, date: Timestamp?, filename: String, mediaType: String, as principal: Principal
    ) async throws -> Int? {
        try await pool.acting(as: principal) { connection in
            _ = try await connection.query(
                "SELECT FROM app.therapy_sessions WHERE id = \(id) AND recording IS NULL FOR UPDATE")
            // Statements of their own: one begun before the lock would not see what the first has done.
            let begun = try await connection.query(
                """
                SELECT app.report_progress(p.session_id, 'pending', 0)
                FROM app.session_progress p JOIN app.therapy_sessions t ON t.id = p.session_id
                WHERE t.id = \(id) AND t.recording IS NULL AND p.status = 'failed'
                """)
            guard begun.first != nil else { return nil }
            _ = try await connection.execute(
                """
                UPDATE app.therapy_sessions
                SET session_date = coalesce(\(date)::timestamptz, session_date), filename = \(filename),
                    media_type = \(mediaType)
                WHERE id = \(id)
                """)
            let rows = try await connection.query(
                "SELECT attempt FROM app.session_progress WHERE session_id = \(id)")
            return Int(try rows[0].decode("attempt", as: Int32.self))
        }
    }

    /// Enters the recording of a session and says that it waits for a worker, in one transaction: a worker never finds
    /// the one without the other.
    ///
    /// - Parameters:
    ///   - recording: What was stored.
    ///   - session: The session that it is for.
    ///   - attempt: The attempt that the upload belongs to.
    ///   - principal: Who uploads.
    /// - Returns: False when another upload has taken the place of this one, the session is no more, or the user may not
    ///   see it any more.
    /// - Throws: `PostgresError`; after one at the commit, only ``settledRecording(of:as:)`` knows how it ended.
    public func enter(
        _ recording: StoredRecording, of session: SessionID, attempt: Int, as principal: Principal
    ) async throws -> Bool {
        try await pool.acting(as: principal) { connection in
            let entered = try await connection.execute(
                """
                UPDATE app.therapy_sessions
                SET recording = \(recording.key), bytes = \(recording.bytes), sha256 = \(recording.sha256)
                WHERE id = \(session) AND recording IS NULL
                  AND EXISTS (SELECT FROM app.session_progress p
                              WHERE p.session_id = \(session) AND p.attempt = \(Int32(clamping: attempt)))
                """)
            guard entered > 0 else { return false }
            _ = try await connection.query(
                "SELECT app.report_progress(\(session), 'pending', 20, 'Waiting for a free worker')")
            return true
        }
    }

    /// The key of a session's recording once every transaction that is about to write it has ended.
    public func settledRecording(of session: SessionID, as principal: Principal) async throws -> String? {
        try await pool.acting(as: principal) { connection in
            try await connection.query("SELECT recording FROM app.therapy_sessions WHERE id = \(session) FOR UPDATE")
                .first?.decode("recording", as: String?.self)
        }
    }

    /// What a repeated upload is held against.
    public struct UploadRecord: Sendable {
        public var patient: UserID
        public var uploadedBy: UserID?
        /// The SHA-256 of the recording; nil until it is stored.
        public var sha256: [UInt8]?
    }

    /// Who uploaded what into a session; nil when there is no such session that the user may see.
    public func upload(_ session: SessionID, as principal: Principal) async throws -> UploadRecord? {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                "SELECT patient_id, uploaded_by, sha256 FROM app.therapy_sessions WHERE id = \(session)"
            ).first.map {
                UploadRecord(
                    patient: try $0.decode("patient_id", as: UserID.self),
                    uploadedBy: try $0.decode("uploaded_by", as: UserID?.self),
                    sha256: try $0.decode("sha256", as: [UInt8]?.self))
            }
        }
    }

    /// Deletes a session with all that belongs to it in the database, and ends its streams.
    ///
    /// Its recording is among the ``discardedRecordings()`` from the same moment on.
    ///
    /// - Returns: False when there is no such session among those that the user manages.
    public func delete(_ session: SessionID, as principal: Principal) async throws -> Bool {
        try await pool.acting(as: principal) { connection in
            try await connection.execute("DELETE FROM app.therapy_sessions WHERE id = \(session)") > 0
        }
    }

    /// The keys of recordings whose sessions were deleted, and whose files are still to be removed; at most 100.
    public func discardedRecordings() async throws -> [String] {
        try await pool.query(
            "SELECT recording FROM app.discarded_recordings ORDER BY discarded_at LIMIT 100"
        ).map { try $0.decode("recording", as: String.self) }
    }

    /// Notes that the file of a discarded recording is gone.
    public func forgetDiscarded(recording key: String) async throws {
        _ = try await pool.execute("DELETE FROM app.discarded_recordings WHERE recording = \(key)")
    }

    /// Notes how long a recording turned out to be.
    public func setDuration(_ seconds: Double, of session: SessionID) async throws {
        _ = try await pool.query("SELECT app.set_duration(\(session), \(seconds))")
    }

    /// The recording of a session; nil until there is one that the user may hear.
    public func recording(of session: SessionID, as principal: Principal) async throws -> RecordingReference? {
        try await pool.acting(as: principal) { connection in
            try await connection.query("SELECT * FROM app.acting_recording(\(session))").first.map {
                RecordingReference(
                    key: try $0.decode("recording", as: String.self),
                    filename: try $0.decode("filename", as: String?.self),
                    mediaType: try $0.decode("media_type", as: String?.self))
            }
        }
    }

    /// The transcript as the pipeline stored it, as JSON; nil until there is one that the user may see.
    public func transcript(of session: SessionID, as principal: Principal) async throws -> String? {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                "SELECT body::text AS body FROM app.transcripts WHERE session_id = \(session)"
            ).first?.decode("body", as: String.self)
        }
    }

    /// The notes as the pipeline stored them, as JSON; nil until there are any that the user may read.
    public func notes(of session: SessionID, as principal: Principal) async throws -> String? {
        try await pool.acting(as: principal) { connection in
            try await connection.query("SELECT body::text AS body FROM app.notes WHERE session_id = \(session)")
                .first?.decode("body", as: String.self)
        }
    }

    private static let columns = """
        t.id, t.patient_id, t.therapist_id, t.session_date, t.filename, t.bytes, t.duration_seconds,
        t.created_at AS session_created_at, \(progressColumns)
        """
}

extension TherapySession {
    init(_ row: PostgresRow) throws {
        self.init(
            id: try row.decode("id", as: SessionID.self),
            patientID: try row.decode("patient_id", as: UserID.self),
            therapistID: try row.decode("therapist_id", as: UserID?.self),
            sessionDate: try row.decode("session_date", as: Timestamp?.self),
            filename: try row.decode("filename", as: String?.self),
            bytes: try row.decode("bytes", as: Int64?.self),
            durationSeconds: try row.decode("duration_seconds", as: Double?.self),
            createdAt: try row.decode("session_created_at", as: Timestamp.self),
            progress: try SessionProgress(row))
    }
}
