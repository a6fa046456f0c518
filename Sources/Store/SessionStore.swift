public import Domain
public import Foundation
public import Postgres

/// A recording that is to come: which upload brings it, and the key under which it will be found.
public struct ExpectedRecording: Sendable {
    /// The id of the upload.
    public var upload: UUID
    /// The key under which the recording will be found.
    public var key: String

    /// A recording that an upload is to bring.
    public init(upload: UUID, key: String) {
        self.upload = upload
        self.key = key
    }
}

/// A recording that has been stored, as it is entered into the database.
public struct StoredRecording: Sendable {
    /// Its size in bytes.
    public var bytes: Int64
    /// Its SHA-256.
    public var sha256: [UInt8]

    /// A recording of a size and a checksum.
    public init(bytes: Int64, sha256: [UInt8]) {
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

    /// Asks the database through a pool of connections.
    public init(pool: PostgresPool) { self.pool = pool }

    /// Which sessions a list is to show.
    public struct Filter: Sendable {
        /// Only sessions of this status; nil for all.
        public var status: SessionStatus?
        /// Only sessions of this patient; nil for all.
        public var patient: UserID?
        /// The session after which the page begins; nil for the first page.
        public var after: Cursor?
        /// At most this many sessions.
        public var limit: Int

        /// A filter; nil leaves a member open.
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
        /// When the session was made.
        public var createdAt: Timestamp
        /// The session, which tells those of one moment apart.
        public var id: SessionID

        /// The place of a session.
        public init(createdAt: Timestamp, id: SessionID) {
            self.createdAt = createdAt
            self.id = id
        }

        /// Reads a cursor as ``description`` writes it; nil for any other text.
        public init?(_ description: String) {
            let parts = description.split(separator: "_")
            guard parts.count == 2, let createdAt = Timestamp(cursor: parts[0]), let id = SessionID(String(parts[1]))
            else { return nil }
            self.init(createdAt: createdAt, id: id)
        }

        /// Microseconds since 1970 and the id, with an underscore between.
        public var description: String { "\(createdAt.microsecondsSinceEpoch)_\(id)" }
    }

    /// The sessions that a user may see, newest first.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer, or with code `decoding` for a status that this
    ///   release does not know.
    public func list(for user: User, as principal: Principal, _ filter: Filter) async throws -> [TherapySession] {
        // Row-level security hides the rest in any case. With the patients as an array an index finds the sessions.
        let seesAll = Access.permits(.see, to: user.role, as: Relation(isPatient: false, isAssigned: false))
        let ownSessions = seesAll ? "true" : "t.patient_id = ANY (ARRAY(SELECT app.acting_patients('see')))"
        return try await pool.acting(as: principal) { connection in
            try await connection.query(
                """
                SELECT \(unescaped: Self.columns)
                FROM app.therapy_sessions t JOIN app.session_progress p ON p.session_id = t.id
                WHERE \(unescaped: ownSessions)
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
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer, or with code `decoding` for a status that this
    ///   release does not know.
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
        awaiting recording: ExpectedRecording, as principal: Principal
    ) async throws -> Bool {
        try await pool.acting(as: principal) { connection in
            try await connection.execute(
                """
                INSERT INTO app.therapy_sessions
                    (id, patient_id, therapist_id, session_date, filename, media_type, uploaded_by, upload_id, upload_key)
                VALUES (\(id), \(patient), \(therapist), coalesce(\(date)::timestamptz, now()), \(filename), \(mediaType),
                        \(principal.user), \(recording.upload), \(recording.key))
                ON CONFLICT (id) DO NOTHING
                """) > 0
        }
    }

    /// Takes a session whose upload has failed for another upload, in one transaction.
    ///
    /// The session's row is locked first: of two that come at once, the second finds it taken.
    ///
    /// - Returns: False when the session is not failed, has a recording, or is no more.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func beginAgain(
        _ id: SessionID, date: Timestamp?, filename: String, mediaType: String, awaiting recording: ExpectedRecording,
        as principal: Principal
    ) async throws -> Bool {
        try await pool.acting(as: principal) { connection in
            _ = try await connection.query(
                "SELECT FROM app.therapy_sessions WHERE id = \(id) AND recording IS NULL FOR NO KEY UPDATE")
            // Statements of their own: one begun before the lock would not see what the first has done.
            let begun = try await connection.query(
                """
                SELECT app.report_progress(p.session_id, 'pending', 0)
                FROM app.session_progress p JOIN app.therapy_sessions t ON t.id = p.session_id
                WHERE t.id = \(id) AND t.recording IS NULL AND p.status = 'failed'
                """)
            guard begun.first != nil else { return false }
            return try await connection.execute(
                """
                UPDATE app.therapy_sessions
                SET session_date = coalesce(\(date)::timestamptz, session_date), filename = \(filename),
                    media_type = \(mediaType), upload_id = \(recording.upload), upload_key = \(recording.key)
                WHERE id = \(id)
                """) > 0
        }
    }

    /// Enters the recording of a session and says that it waits for a worker, in one transaction: a worker never finds
    /// the one without the other.
    ///
    /// - Returns: False when another upload has taken the place of this one, the session is no more, or the user may not
    ///   see it any more.
    /// - Throws: `PostgresError`; after one at the commit, only ``hasEntered(_:into:)`` knows how it ended.
    public func enter(
        _ stored: StoredRecording, from recording: ExpectedRecording, into session: SessionID, as principal: Principal
    ) async throws -> Bool {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                """
                SELECT app.attach_recording(\(session), \(recording.upload), \(stored.bytes), \(stored.sha256)) AS entered
                """
            ).first?.decode("entered", as: Bool.self) ?? false
        }
    }

    /// Whether a recording is entered, once every transaction that is about to enter it has ended.
    ///
    /// It is asked as nobody: the user may have lost the right to see the session since.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func hasEntered(_ recording: ExpectedRecording, into session: SessionID) async throws -> Bool {
        try await pool.query("SELECT app.has_recording(\(session), \(recording.key)) AS entered")
            .first?.decode("entered", as: Bool.self) ?? false
    }

    /// What a repeated upload is held against.
    public struct UploadRecord: Sendable {
        /// The patient of the session.
        public var patient: UserID
        /// The user who uploaded the recording; nil for a deleted account.
        public var uploadedBy: UserID?
        /// The SHA-256 of the recording; nil until it is stored.
        public var sha256: [UInt8]?
    }

    /// Who uploaded what into a session; nil when there is no such session that the user may see.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
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
    /// Its recording is among the ``takeDiscardedRecordings()`` from the same moment on.
    ///
    /// - Returns: False when there is no such session among those that the user manages.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func delete(_ session: SessionID, as principal: Principal) async throws -> Bool {
        try await pool.acting(as: principal) { connection in
            try await connection.execute("DELETE FROM app.therapy_sessions WHERE id = \(session)") > 0
        }
    }

    /// Takes recordings whose files are to be removed, of deleted sessions and of uploads that came to nothing: at most 100, the
    /// oldest first.
    ///
    /// No other server is given them within an hour.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func takeDiscardedRecordings() async throws -> [String] {
        try await pool.query("SELECT recording FROM app.claim_discarded(100) AS recording")
            .map { try $0.decode("recording", as: String.self) }
    }

    /// Notes that the file of a discarded recording is gone.
    ///
    /// - Parameters:
    ///   - key: The key of the recording.
    ///   - upload: The upload that was to bring it, when it is that which says so: another's is not given up as long as
    ///     it is under way.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func noteRemoval(recording key: String, of upload: UUID? = nil) async throws {
        _ = try await pool.query("SELECT app.record_removed_file(\(key), \(upload))")
    }

    /// Notes how long a recording turned out to be.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func setDuration(_ seconds: Double, of session: SessionID) async throws {
        _ = try await pool.query("SELECT app.set_duration(\(session), \(seconds))")
    }

    /// The recording of a session; nil until there is one that the user may hear.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
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
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func transcript(of session: SessionID, as principal: Principal) async throws -> String? {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                "SELECT body::text AS body FROM app.transcripts WHERE session_id = \(session)"
            ).first?.decode("body", as: String.self)
        }
    }

    /// The notes as the pipeline stored them, as JSON; nil until there are any that the user may read.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
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
