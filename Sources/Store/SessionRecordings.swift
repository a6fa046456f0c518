public import Domain
public import FoundationEssentials
public import Postgres

/// What a client says of a session when it uploads the recording.
public struct UploadedSession: Sendable, Equatable {
    /// When the session took place; nil if the client does not say it.
    public var date: Timestamp?
    /// The language that is spoken; nil if the client does not say it.
    public var language: LanguageTag?
    /// The name that the client gave the file.
    public var filename: String

    /// A session as a client describes it.
    public init(date: Timestamp? = nil, language: LanguageTag? = nil, filename: String) {
        self.date = date
        self.language = language
        self.filename = filename
    }
}

/// The recording that an upload will bring.
public struct ExpectedRecording: Sendable {
    /// The id of the upload.
    public var upload: UUID
    /// The key of the recording.
    public var key: String

    /// The recording of an upload.
    public init(upload: UUID, key: String) {
        self.upload = upload
        self.key = key
    }
}

/// The request of an upload, for the audit log.
public struct UploadOrigin: Sendable {
    /// The `X-Request-Id` of the answer; nil without a request.
    public var requestID: RequestIdentifier?
    /// Where the request came from; nil if that is unknown.
    public var network: ClientNetwork?

    /// A request.
    public init(requestID: RequestIdentifier? = nil, network: ClientNetwork? = nil) {
        self.requestID = requestID
        self.network = network
    }
}

/// A recording whose file is complete.
public struct StoredRecording: Sendable {
    /// The size in bytes.
    public var bytes: Int64
    /// The SHA-256.
    public var sha256: [UInt8]
    /// The format that its bytes show.
    public var format: AudioFormat

    /// A recording of a size, a checksum and a format.
    public init(bytes: Int64, sha256: [UInt8], format: AudioFormat) {
        self.bytes = bytes
        self.sha256 = sha256
        self.format = format
    }
}

/// A recording that a client may download.
public struct RecordingReference: Sendable {
    /// The key of the recording.
    public var key: String
    /// The name that the uploader gave the file.
    public var filename: String?
    /// The format; nil for a media type that this release does not know.
    public var format: AudioFormat?
    /// The SHA-256 of the recording as it was uploaded; nil for a recording that no upload brought.
    public var sha256: [UInt8]?
    /// When the session was created.
    ///
    /// The bytes of a recording never change.
    public var createdAt: Timestamp
}

// The recordings of sessions: how an upload begins and ends, who may hear a recording, and which files to remove.
extension SessionStore {
    /// Creates a session that waits for its recording, uploaded by the user, and records the upload in the audit log.
    ///
    /// `then` runs in the same transaction, after the session is there.
    ///
    /// - Returns: False if a session with this id exists. Nothing is then recorded.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 42501 if the user may not upload
    ///   for the patient, 23505 for a key that another recording has or had, TB001 for the id of a deleted session.
    public func add(
        _ id: SessionID, patient: UserID, therapist: UserID?, _ session: UploadedSession,
        awaiting recording: ExpectedRecording, as principal: Principal, from origin: UploadOrigin? = nil,
        then: @Sendable (PostgresConnection) async throws -> Void = { _ in }
    ) async throws -> Bool {
        try await withRecord(ofUpload: id, for: patient, as: principal, from: origin, then: then) { connection in
            try await connection.execute(
                """
                INSERT INTO app.therapy_sessions
                    (id, patient_id, therapist_id, session_date, language, filename, uploaded_by, upload_id, upload_key)
                VALUES (\(id), \(patient), \(therapist), coalesce(\(session.date)::timestamptz, now()),
                        \(session.language?.description), \(session.filename), \(principal.user), \(recording.upload),
                        \(recording.key))
                ON CONFLICT (id) DO NOTHING
                """) > 0
        }
    }

    /// Lets another upload bring the recording of a session whose upload has failed, and records that in the audit log.
    ///
    /// A date or a language that the client does not say stays as it is. The method locks the session's row first. The
    /// second of two concurrent calls therefore finds the session taken.
    ///
    /// - Returns: False if the session has not failed, has a recording, or no longer exists. Nothing is then recorded.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 23505 for a key that another
    ///   recording has or had.
    public func beginAgain(
        _ id: SessionID, patient: UserID, _ session: UploadedSession,
        awaiting recording: ExpectedRecording, as principal: Principal, from origin: UploadOrigin? = nil,
        then: @Sendable (PostgresConnection) async throws -> Void = { _ in }
    ) async throws -> Bool {
        try await withRecord(ofUpload: id, for: patient, as: principal, from: origin, then: then) { connection in
            _ = try await connection.query(
                "SELECT FROM app.therapy_sessions WHERE id = \(id) AND recording IS NULL FOR NO KEY UPDATE")
            // A new statement: one that began before the lock would not see what the other call has committed.
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
                SET session_date = coalesce(\(session.date)::timestamptz, session_date),
                    language = coalesce(\(session.language?.description), language), filename = \(session.filename),
                    upload_id = \(recording.upload), upload_key = \(recording.key)
                WHERE id = \(id)
                """) > 0
        }
    }

    /// Runs a change with its record in one transaction.
    ///
    /// The record comes first: the trigger on sessions finds it, and adds none of its own. Without an `origin`, only the trigger
    /// records the change.
    ///
    /// - Returns: False if `change` does. The record is then taken back.
    /// - Throws: ``PostgresError`` if the database does not answer; what `then` and `change` throw.
    private func withRecord(
        ofUpload session: SessionID, for patient: UserID, as principal: Principal, from origin: UploadOrigin?,
        then: (PostgresConnection) async throws -> Void, _ change: (PostgresConnection) async throws -> Bool
    ) async throws -> Bool {
        let access = AuditedAccess(.upload, by: principal, session: session, patient: patient, from: origin?.network)
        do {
            try await pool.acting(as: principal, locking: session) { connection in
                if let origin {
                    _ = try await connection.query(
                        AuditStore.insertion(of: access, isAllowed: true, requestID: origin.requestID))
                }
                guard try await change(connection) else { throw NothingChanged() }
                try await then(connection)
            }
            return true
        } catch is NothingChanged {
            return false
        }
    }

    /// Takes a transaction back that has changed nothing.
    private struct NothingChanged: Error {}

    /// Attaches a recording to its session and queues the session, in one transaction.
    ///
    /// A worker therefore never finds a pending session without its recording, or the reverse.
    ///
    /// - Returns: False if the session waits for another upload, if it no longer exists, if the user may no longer
    ///   upload to it, or if a server has begun to remove the file.
    /// - Throws: ``PostgresError`` if the database does not answer. After an error at the commit, only
    ///   ``hasEntered(_:into:)`` tells the outcome.
    public func enter(
        _ stored: StoredRecording, from recording: ExpectedRecording, into session: SessionID, as principal: Principal
    ) async throws -> Bool {
        try await pool.acting(as: principal, locking: session) { connection in
            try await Self.attach(stored, of: recording.upload, to: session, on: connection)
        }
    }

    /// Attaches a recording to its session, in the present transaction, which has locked the session.
    ///
    /// - Returns: False in the cases of ``enter(_:from:into:as:)``.
    /// - Throws: ``PostgresError`` if the database does not answer.
    static func attach(
        _ stored: StoredRecording, of upload: UUID, to session: SessionID, on connection: PostgresConnection
    ) async throws -> Bool {
        try await connection.query(
            """
            SELECT app.attach_recording(\(session), \(upload), \(stored.bytes), \(stored.sha256),
                                        \(stored.format.mediaType)) AS attached
            """
        ).first?.decode("attached", as: Bool.self) ?? false
    }

    /// Whether the recording is attached, after every transaction that is about to attach it has ended.
    ///
    /// The statement runs without an acting user: the user may have lost the right to see the session.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func hasEntered(_ recording: ExpectedRecording, into session: SessionID) async throws -> Bool {
        try await pool.query(
            "SELECT app.has_recording(\(session), \(recording.key)) AS attached", locking: session
        )
        .first?.decode("attached", as: Bool.self) ?? false
    }

    /// The data by which the server recognizes a repeated upload.
    public struct UploadRecord: Sendable {
        /// The patient of the session.
        public var patient: UserID
        /// The user who uploaded the recording; nil for a session that was created without an upload.
        public var uploadedBy: UserID?
        /// The SHA-256 of the recording; nil before the recording is stored.
        public var sha256: [UInt8]?
    }

    /// The upload of a session; nil if the user may see no such session.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
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

    /// The recording of a session; nil if the session has no recording that the user may hear.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func recording(of session: SessionID, as principal: Principal) async throws -> RecordingReference? {
        try await pool.acting(as: principal) { connection in
            try await connection.query("SELECT * FROM app.acting_recording(\(session))").first
                .map(RecordingReference.init)
        }
    }

    /// Fails the session of an upload in one request that is silent or whose server has died, so that its user can repeat it.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - silence: For how long its connection is silent at least.
    ///   - principal: The user who began the upload.
    /// - Returns: False if the upload is not silent, or the session waits for no such upload of the user.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func failSilentUpload(
        of session: SessionID, silentFor silence: Duration, as principal: Principal
    ) async throws -> Bool {
        try await pool.acting(as: principal, locking: session) { connection in
            try await connection.query("SELECT app.fail_silent_upload(\(session), \(silence)) AS failed")
                .first?.decode("failed", as: Bool.self) ?? false
        }
    }

    /// The median size of the newest recordings in bytes; nil without any.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func usualRecordingBytes() async throws -> Int64? {
        try await pool.query("SELECT app.usual_recording_bytes() AS bytes").first?.decode("bytes", as: Int64?.self)
    }

    /// Takes recordings whose files this server has to remove: those of deleted sessions and of failed uploads.
    ///
    /// No other server gets the same recording within an hour.
    ///
    /// - Returns: The keys of at most 100 recordings, oldest first.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func takeDiscardedRecordings() async throws -> [String] {
        try await pool.query("SELECT recording FROM app.claim_discarded(100) AS recording")
            .map { try $0.decode("recording", as: String.self) }
    }

    /// Records that the file of a discarded recording is removed.
    ///
    /// - Parameters:
    ///   - key: The key of the recording.
    ///   - upload: The upload that wrote the file, if that upload calls. Another caller cannot give up the file of an
    ///     upload that is under way.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func noteRemoval(recording key: String, of upload: UUID? = nil) async throws {
        _ = try await pool.query("SELECT app.record_removed_file(\(key), \(upload))")
    }
}

extension RecordingReference {
    /// Reads the columns of a recording.
    ///
    /// - Throws: ``PostgresError`` with code `decoding` if a column has another type.
    init(_ row: PostgresRow) throws {
        self.init(
            key: try row.decode("recording", as: String.self), filename: try row.decode("filename", as: String?.self),
            format: try row.decode("media_type", as: String?.self).flatMap(AudioFormat.init(mediaType:)),
            sha256: try row.decode("sha256", as: [UInt8]?.self),
            createdAt: try row.decode("created_at", as: Timestamp.self))
    }
}
