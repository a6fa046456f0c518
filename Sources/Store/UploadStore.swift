public import Domain
public import FoundationEssentials
public import Postgres

/// Resumable uploads: `app.resumable_uploads`.
///
/// Every method with a principal shows and changes only the uploads that this user began, while the user may upload for the patient.
/// The row of any other upload does not exist for it.
public struct UploadStore: Sendable {
    private let pool: PostgresPool
    private let sessions: SessionStore

    /// A store that borrows its connections from a pool.
    public init(pool: PostgresPool) {
        self.pool = pool
        sessions = SessionStore(pool: pool)
    }

    // MARK: - Reading

    /// An upload at a moment of the database's clock.
    public struct Reading: Sendable {
        /// The upload.
        public var upload: ResumableUpload
        /// The moment.
        public var now: Timestamp
    }

    /// An upload that the user began and may continue; nil if there is none with this id.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func upload(_ id: UploadID, as principal: Principal) async throws -> Reading? {
        try await pool.acting(as: principal) { connection in
            try await Self.read(id, of: principal.user, isLocked: false, on: connection)
        }
    }

    /// An upload that the user began or, as an administrator, may end; nil if there is none with this id.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func uploadToEnd(_ id: UploadID, as principal: Principal) async throws -> Reading? {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                "SELECT \(unescaped: Self.columns) FROM app.resumable_uploads WHERE id = \(id)"
            ).first.map(Reading.init)
        }
    }

    /// The open upload of a session that the user began; nil if there is none.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func openUpload(of session: SessionID, as principal: Principal) async throws -> Reading? {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                """
                SELECT \(unescaped: Self.columns) FROM app.resumable_uploads
                WHERE session_id = \(session) AND user_id = \(principal.user) AND state = 'open'
                """
            ).first.map(Reading.init)
        }
    }

    private static let columns = """
        id, session_id, patient_id, user_id, metadata, length, arrived, parts, part_bytes, is_recognized, state,
        writer, leased_until, heard_at, expires_at, clock_timestamp() AS present
        """

    /// Reads an upload of a user, and locks it on request.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; what `Reading.init` throws.
    private static func read(
        _ id: UploadID, of user: UserID, isLocked: Bool, on connection: PostgresConnection
    ) async throws -> Reading? {
        try await connection.query(
            """
            SELECT \(unescaped: columns) FROM app.resumable_uploads WHERE id = \(id) AND user_id = \(user)
            \(unescaped: isLocked ? "FOR NO KEY UPDATE" : "")
            """
        ).first.map(Reading.init)
    }

    // MARK: - Creation

    /// Creates an upload with its session, and shows the session as `uploading`.
    ///
    /// - Parameters:
    ///   - upload: The upload. Its lifetime begins at the database's present moment.
    ///   - lifetime: How long an upload is kept after its last byte.
    ///   - key: The key of its folder of parts.
    ///   - therapist: The therapist of the session; nil if a patient or an administrator uploads.
    ///   - session: What the client says of the session.
    ///   - again: True if the session exists, and its upload has failed.
    ///   - principal: The user.
    ///   - origin: The request, for the audit log.
    /// - Returns: False if the session exists; with `again`, if it waits for another upload, has a recording or is gone.
    /// - Throws: What ``SessionStore/add(_:patient:therapist:_:awaiting:as:from:then:)`` throws.
    public func create(
        _ upload: ResumableUpload, lifetime: Duration, key: String, therapist: UserID?, _ session: UploadedSession,
        again: Bool, as principal: Principal, from origin: UploadOrigin
    ) async throws -> Bool {
        let recording = ExpectedRecording(upload: upload.id.rawValue, key: key)
        let enter = { @Sendable (connection: PostgresConnection) async throws in
            _ = try await connection.query(
                """
                SELECT app.report_upload(\(upload.session), \(upload.id.rawValue), 'uploading', 0, 'Uploading the recording', NULL)
                """)
            _ = try await connection.execute(
                """
                INSERT INTO app.resumable_uploads (id, session_id, patient_id, user_id, metadata, length, expires_at)
                VALUES (\(upload.id), \(upload.session), \(upload.patient), \(upload.user), \(upload.metadata),
                        \(upload.length), clock_timestamp() + \(lifetime))
                """)
        }
        if again {
            return try await sessions.beginAgain(
                upload.session, patient: upload.patient, session, awaiting: recording, as: principal, from: origin,
                then: enter)
        }
        return try await sessions.add(
            upload.session, patient: upload.patient, therapist: therapist, session, awaiting: recording, as: principal,
            from: origin, then: enter)
    }

    // MARK: - Changes

    /// Changes an upload under its lock.
    ///
    /// - Parameters:
    ///   - id: The upload.
    ///   - principal: The user who began it.
    ///   - change: Decides at a moment of the database's clock.
    /// - Returns: The upload afterwards with the decision; nil if the user may not continue such an upload (any more).
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func change<Decision: Sendable>(
        _ id: UploadID, as principal: Principal,
        _ change: @Sendable (inout ResumableUpload, Timestamp) -> Decision
    ) async throws -> (upload: ResumableUpload, decision: Decision)? {
        try await pool.acting(as: principal) { connection in
            guard let reading = try await Self.read(id, of: principal.user, isLocked: true, on: connection) else {
                return nil
            }
            var upload = reading.upload
            let decision = change(&upload, reading.now)
            if upload != reading.upload { try await Self.write(upload, on: connection) }
            return (upload, decision)
        }
    }

    /// Ends the hold of a writer, and charges the bytes that its request brought.
    ///
    /// Both happen in one transaction. Otherwise a next request could begin in between, and its charge would end with this one.
    ///
    /// - Parameters:
    ///   - id: The upload.
    ///   - writer: The request. It may have lost the upload.
    ///   - bytes: The number of bytes that it brought, kept or not.
    ///   - principal: The user who began the upload.
    /// - Returns: The upload afterwards; nil if the user may not continue such an upload (any more).
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func release(
        _ id: UploadID, by writer: UUID, charging bytes: Int64, as principal: Principal
    ) async throws -> ResumableUpload? {
        let released = try await pool.acting(as: principal) { connection -> ResumableUpload? in
            guard let reading = try await Self.read(id, of: principal.user, isLocked: true, on: connection) else {
                return nil
            }
            var upload = reading.upload
            let hasOther = upload.lease.map { $0.writer != writer } ?? false
            if upload.release(writer) { try await Self.write(upload, on: connection) }
            try await UploadChargeStore.add(bytes, to: id.rawValue, endsRequest: !hasOther, on: connection)
            return upload
        }
        if released == nil {
            // Another sign-in of the account may have taken over. A charge without a request lapses by itself.
            try await UploadChargeStore(pool: pool).add(bytes, to: id.rawValue, endsRequest: false)
        }
        return released
    }

    /// Stores what may change of an upload.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    private static func write(_ upload: ResumableUpload, on connection: PostgresConnection) async throws {
        _ = try await connection.execute(
            """
            UPDATE app.resumable_uploads
            SET arrived = \(upload.offset), parts = \(upload.parts.map(\.name)), part_bytes = \(upload.parts.map(\.byteCount)),
                is_recognized = \(upload.isRecognized), state = \(upload.state.rawValue), writer = \(upload.lease?.writer),
                leased_until = \(upload.lease?.until), heard_at = \(upload.lease?.heardAt), expires_at = \(upload.expiresAt)
            WHERE id = \(upload.id)
            """)
    }

    /// Names the file that will be the recording of a session, before the file has that name.
    ///
    /// If the upload does not complete with it, the janitor removes the file.
    ///
    /// - Returns: False if the session no longer waits for the upload, or the user may not upload to it.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func expect(
        _ recording: ExpectedRecording, of session: SessionID, as principal: Principal
    ) async throws -> Bool {
        try await pool.acting(as: principal, locking: session) { connection in
            try await connection.execute(
                """
                UPDATE app.therapy_sessions SET upload_key = \(recording.key)
                WHERE id = \(session) AND upload_id = \(recording.upload) AND recording IS NULL
                """) > 0
        }
    }

    /// Attaches the recording of an upload to its session, queues the session, and completes the upload, in one transaction.
    ///
    /// - Parameters:
    ///   - id: The upload.
    ///   - writer: The request that writes.
    ///   - lifetime: How long the complete upload answers.
    ///   - stored: The recording.
    ///   - session: Its session.
    ///   - principal: The user who began the upload.
    /// - Returns: False if the writer has lost the upload, or the session no longer waits for it.
    /// - Throws: ``PostgresError`` if the database does not answer. After an error at the commit, only a new reading tells the
    ///   outcome.
    public func complete(
        _ id: UploadID, by writer: UUID, lifetime: Duration, with stored: StoredRecording, of session: SessionID,
        as principal: Principal
    ) async throws -> Bool {
        do {
            try await pool.acting(as: principal, locking: session) { connection in
                // The session is locked before its upload, as in the triggers that end uploads.
                guard try await SessionStore.attach(stored, of: id.rawValue, to: session, on: connection),
                    let reading = try await Self.read(id, of: principal.user, isLocked: true, on: connection)
                else { throw NotCompleted() }
                var upload = reading.upload
                guard upload.complete(by: writer, now: reading.now, lifetime: lifetime) else { throw NotCompleted() }
                try await Self.write(upload, on: connection)
            }
            return true
        } catch is NotCompleted {
            return false
        }
    }

    /// Takes back a transaction in which the upload could not be completed.
    private struct NotCompleted: Error {}

    // MARK: - Cleaning up

    /// Ends the open uploads whose time is over, and fails their sessions.
    ///
    /// - Parameter id: The only upload to end; nil for all.
    /// - Returns: The number of uploads.
    /// - Throws: ``PostgresError`` if the database does not answer.
    @discardableResult
    public func expire(_ id: UploadID? = nil) async throws -> Int {
        let rows = try await pool.query("SELECT app.expire_uploads(\(id?.rawValue)) AS total")
        return Int(try rows.first?.decode("total", as: Int32.self) ?? 0)
    }

    /// Deletes the rows of uploads that need not answer any more.
    ///
    /// - Parameter age: How long an ended upload still gets 410 after it expired.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func forgetOld(age: Duration) async throws {
        _ = try await pool.query("SELECT app.delete_old_uploads(\(age))")
    }
}

extension UploadID: PostgresRepresentable, PostgresArrayElement {}

extension UploadStore.Reading {
    /// Reads the columns `columns`, and the time of the database.
    ///
    /// - Throws: ``UnreadableRow`` for a state that this release does not know; ``PostgresError`` with code `decoding`
    ///   if a column has another type.
    fileprivate init(_ row: PostgresRow) throws {
        let names = try row.decode("parts", as: [String].self)
        let counts = try row.decode("part_bytes", as: [Int64].self)
        let lease: ResumableUpload.Lease? = try row.decode("writer", as: UUID?.self).map {
            ResumableUpload.Lease(
                writer: $0, until: try row.decode("leased_until", as: Timestamp.self),
                heardAt: try row.decode("heard_at", as: Timestamp.self))
        }
        guard let state = ResumableUpload.State(rawValue: try row.decode("state", as: String.self)) else {
            throw UnreadableRow(.status)
        }
        upload = ResumableUpload(
            id: try row.decode("id", as: UploadID.self), session: try row.decode("session_id", as: SessionID.self),
            patient: try row.decode("patient_id", as: UserID.self), user: try row.decode("user_id", as: UserID.self),
            metadata: try row.decode("metadata", as: String.self), length: try row.decode("length", as: Int64.self),
            expiresAt: try row.decode("expires_at", as: Timestamp.self), state: state,
            offset: try row.decode("arrived", as: Int64.self),
            parts: zip(names, counts).map { ResumableUpload.Part(name: $0, byteCount: $1) },
            isRecognized: try row.decode("is_recognized", as: Bool.self), lease: lease)
        now = try row.decode("present", as: Timestamp.self)
    }
}
