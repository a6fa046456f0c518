public import Domain
import Postgres

/// A session that an account of a pipeline has claimed.
public struct AccountClaim: Sendable {
    /// The session.
    public var session: SessionID
    /// The attempt of this claim.
    public var attempt: Int
    /// The status that the former worker reached; `pending` for a session that nobody has begun.
    ///
    /// The text of the database: the pipeline may know a status of a newer release that this server does not know.
    public var status: String
    /// The secret that proves this claim.
    public var lease: LeaseToken
    /// When the lease runs out.
    public var leasedUntil: Timestamp
    /// The name that the uploader gave the file.
    public var filename: String?
    /// The size of the recording in bytes.
    public var bytes: Int64?
    /// The media type that the bytes of the recording show.
    public var mediaType: String?
    /// The length of the audio in seconds; nil until a worker has measured it, or a transcript has carried it.
    public var duration: Double?
}

/// A lease as an account of a pipeline presents it.
public struct PresentedLease: Sendable {
    /// The session.
    public var session: SessionID
    /// The attempt of the claim.
    public var attempt: Int
    /// The secret.
    public var lease: LeaseToken

    /// A lease of a session.
    public init(of session: SessionID, attempt: Int, lease: LeaseToken) {
        self.session = session
        self.attempt = attempt
        self.lease = lease
    }
}

/// The queue and the results, as pipelines use them over HTTP.
///
/// Each method acts for an account, and checks its right in the transaction that does the work.
extension PipelineStore {
    /// Claims a session for an account, and records the claim in the audit log.
    ///
    /// - Parameters:
    ///   - worker: The name of the worker.
    ///   - lease: The length of the lease, 1 second to 1 day.
    ///   - principal: The account.
    ///   - requestID: The `X-Request-Id` of the answer, for the audit log.
    ///   - network: Where the request came from; nil if that is unknown.
    /// - Returns: The session; nil if no session waits.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 28000 if the account may claim no
    ///   session any more. Nothing is then claimed.
    public func claim(
        worker: String, lease: Duration, as principal: Principal, requestID: RequestIdentifier?,
        from network: ClientNetwork?
    ) async throws -> AccountClaim? {
        try await pool.acting(as: principal) { connection in
            _ = try await connection.query("SELECT app.require_pipeline()")
            guard
                let row = try await connection.query(
                    """
                    SELECT session_id, attempt, status, lease, leased_until
                    FROM app.claim_session(\(worker), \(lease))
                    """
                ).first
            else { return nil }
            let session = try row.decode("session_id", as: SessionID.self)
            guard let facts = try await connection.query("SELECT * FROM app.claimed_recording(\(session))").first else {
                throw StoreError.noRow
            }
            let access = AuditedAccess(
                .claim, by: principal, session: session, patient: try facts.decode("patient_id", as: UserID.self),
                from: network)
            _ = try await connection.query(AuditStore.insertion(of: access, isAllowed: true, requestID: requestID))
            return AccountClaim(
                session: session, attempt: Int(try row.decode("attempt", as: Int32.self)),
                status: try row.decode("status", as: String.self),
                lease: LeaseToken(try row.decode("lease", as: String.self)),
                leasedUntil: try row.decode("leased_until", as: Timestamp.self),
                filename: try facts.decode("filename", as: String?.self),
                bytes: try facts.decode("bytes", as: Int64?.self),
                mediaType: try facts.decode("media_type", as: String?.self),
                duration: try facts.decode("duration_seconds", as: Double?.self))
        }
    }

    /// Extends a lease that stands.
    ///
    /// - Returns: When the lease runs out now; nil if it does not stand.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 28000 if the account has lost the
    ///   right, 22023 for a lease out of range.
    public func keep(
        _ presented: PresentedLease, for duration: Duration, as principal: Principal
    ) async throws -> Timestamp? {
        try await act(on: presented, as: principal) { connection in
            // The time comes first: the lease then lasts at least that long.
            let row = try await connection.query(
                """
                SELECT clock_timestamp() + \(duration) AS leased_until,
                       app.keep_standing_lease(\(presented.session), \(Int32(clamping: presented.attempt)),
                                               \(duration), \(presented.lease.text)) AS is_kept
                """
            ).first
            guard let row, try row.decode("is_kept", as: Bool.self) else { return nil }
            return try row.decode("leased_until", as: Timestamp.self)
        }
    }

    /// Gives a session back to the queue, behind the patient's other sessions.
    ///
    /// - Returns: False if the lease does not stand.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 28000 if the account has lost the
    ///   right.
    public func giveBack(_ presented: PresentedLease, as principal: Principal) async throws -> Bool {
        try await act(on: presented, as: principal) { connection in
            try await connection.query(
                """
                SELECT app.give_lease_back(\(presented.session), \(Int32(clamping: presented.attempt)),
                                           \(presented.lease.text)) AS is_given
                """
            ).first?.decode("is_given", as: Bool.self) ?? false
        }
    }

    /// Gives a session back whose claim its account never received.
    ///
    /// The account may have lost its right since. The lease alone proves the claim.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer. The lease then runs out.
    public func giveBack(_ claim: AccountClaim) async throws {
        _ = try await pool.query(
            """
            SELECT app.give_lease_back(\(claim.session), \(Int32(clamping: claim.attempt)), \(claim.lease.text),
                                       keeps_place => true)
            """, locking: claim.session)
    }

    /// Stores a transcript, or with `"is_final": false` a partial one.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 28000 if the account has lost the
    ///   right, 42501 if the lease does not stand, 23514 for another attempt or a partial transcript after the final
    ///   one, 22023 for a wrong shape, P0002 if the session was deleted.
    public func storeTranscript(_ json: String, under presented: PresentedLease, as principal: Principal) async throws {
        try await act(on: presented, as: principal) { connection in
            _ = try await connection.query(
                """
                SELECT app.store_transcript(\(presented.session), \(Int32(clamping: presented.attempt)),
                                            \(PostgresJSON(text: json)), \(presented.lease.text))
                """)
        }
    }

    /// Stores notes.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 28000 if the account has lost the
    ///   right, 42501 if the lease does not stand, 23514 for another attempt, P0002 if the session was deleted.
    public func storeNotes(_ json: String, under presented: PresentedLease, as principal: Principal) async throws {
        try await act(on: presented, as: principal) { connection in
            // As text, which PostgreSQL reads as json. As jsonb, the members would lose their order.
            _ = try await connection.query(
                """
                SELECT app.store_notes(\(presented.session), \(Int32(clamping: presented.attempt)), \(json)::text::json,
                                       \(presented.lease.text))
                """)
        }
    }

    /// Runs statements as a pipeline, about the session of its lease.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 28000 if the account is no
    ///   pipeline; what `body` throws.
    private func act<Value>(
        on presented: PresentedLease, as principal: Principal, actor: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        try await pool.acting(as: principal, locking: presented.session) { connection in
            _ = try await connection.query("SELECT app.require_pipeline()")
            return try await body(connection)
        }
    }
}

extension SessionStore {
    /// The recording of a session for the pipeline with its lease; nil if the lease does not stand.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 28000 if the account has lost the
    ///   right.
    public func recording(
        of session: SessionID, under lease: LeaseToken, as principal: Principal
    ) async throws -> RecordingReference? {
        try await pool.acting(as: principal) { connection in
            try await connection.query("SELECT * FROM app.leased_recording(\(session), \(lease.text))").first
                .map(RecordingReference.init)
        }
    }
}
