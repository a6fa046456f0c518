public import Domain
public import Postgres

/// A session that a worker has claimed.
public struct ClaimedSession: Sendable, Equatable {
    /// The session.
    public var session: SessionID
    /// The attempt of this claim.
    ///
    /// The database refuses results of an older attempt.
    public var attempt: Int
    /// The status at which the work goes on, or nil for a status of a newer release.
    ///
    /// It is ``SessionStatus/pending`` if no worker has begun.
    public var status: SessionStatus?
    /// The secret that proves this claim.
    public var lease: LeaseToken
    /// The key of the recording.
    public var recording: String
    /// When the lease runs out, unless ``PipelineStore/keepLease(of:lease:)`` extends it.
    public var leasedUntil: Timestamp
}

extension PostgresError {
    /// Whether the database refused a report or a result because its lease does not stand.
    ///
    /// The lease may have run out while the database was away. ``PipelineStore/keepLease(of:lease:)`` tells whether
    /// the session still belongs to the worker.
    public var isLeaseFault: Bool {
        sqlState == .insufficientPrivilege && ["lease_required", "lease_not_standing"].contains(constraintName)
    }
}

/// The queue and the results of the pipeline, as a worker uses them: leases, transcripts and notes.
public struct PipelineStore: Sendable {
    let pool: PostgresPool

    /// A store that borrows its connections from a pool.
    public init(pool: PostgresPool) { self.pool = pool }

    /// Sets how many attempts a session has, for all workers of the database.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func setMaxAttempts(_ most: Int) async throws {
        _ = try await pool.query("SELECT app.set_max_attempts(\(Int32(clamping: most)))")
    }

    /// Claims a session of the patient served longest ago: one that waits, or one whose lease has run out.
    ///
    /// - Parameters:
    ///   - worker: The name of the worker.
    ///   - lease: The length of the lease, 1 second to 1 day.
    /// - Returns: The session; nil if no session waits.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 22023 for a lease out of range or
    ///   a worker without a name.
    public func claim(worker: String, lease: Duration) async throws -> ClaimedSession? {
        try await pool.query(
            """
            SELECT session_id, attempt, status, lease, recording, leased_until
            FROM app.claim_session(\(worker), \(lease))
            """
        ).first.map {
            ClaimedSession(
                session: try $0.decode("session_id", as: SessionID.self),
                attempt: Int(try $0.decode("attempt", as: Int32.self)),
                status: SessionStatus(rawValue: try $0.decode("status", as: String.self)),
                lease: LeaseToken(try $0.decode("lease", as: String.self)),
                recording: try $0.decode("recording", as: String.self),
                leasedUntil: try $0.decode("leased_until", as: Timestamp.self))
        }
    }

    /// Extends a lease, also one that has run out if no other worker has claimed the session since.
    ///
    /// - Parameters:
    ///   - claim: The worker's claim to the session.
    ///   - lease: The length of the lease from now on, 1 second to 1 day.
    /// - Returns: False if another worker has the session, or if it is finished or deleted.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 22023 for a lease out of range.
    public func keepLease(of claim: ClaimedSession, lease: Duration) async throws -> Bool {
        let rows = try await pool.query(
            """
            SELECT app.keep_lease(\(claim.session), \(Int32(clamping: claim.attempt)), \(lease),
                                  \(claim.lease.text)) AS is_kept
            """, locking: claim.session)
        return try rows.first?.decode("is_kept", as: Bool.self) ?? false
    }

    /// True while ``keepLease(of:lease:)`` would extend the lease.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func hasLease(_ claim: ClaimedSession) async throws -> Bool {
        let rows = try await pool.query(
            "SELECT app.has_lease(\(claim.session), \(Int32(clamping: claim.attempt)), \(claim.lease.text)) AS is_kept")
        return try rows.first?.decode("is_kept", as: Bool.self) ?? false
    }

    /// Gives a session back to the queue before its lease runs out, which uses up no attempt.
    ///
    /// - Parameters:
    ///   - claim: The worker's claim to the session.
    ///   - message: What the watchers of the session read from now on, or nil to change nothing.
    ///   - keepsPlace: False if the patient's other sessions come first from now on.
    /// - Returns: False if the lease does not stand.
    /// - Throws: ``PostgresError`` if the database does not answer.
    @discardableResult
    public func giveBack(
        _ claim: ClaimedSession, saying message: String?, keepsPlace: Bool
    ) async throws -> Bool {
        let rows = try await pool.query(
            """
            SELECT app.give_lease_back(\(claim.session), \(Int32(clamping: claim.attempt)), \(claim.lease.text),
                                       \(message), \(keepsPlace)) AS is_back
            """, locking: claim.session)
        return try rows.first?.decode("is_back", as: Bool.self) ?? false
    }

    /// Ends an attempt that has no result because its stage was killed, stalled or took too long.
    ///
    /// - Parameters:
    ///   - claim: The worker's claim to the session.
    ///   - reason: The reason, for the watchers of the session.
    /// - Returns: False if it was the last attempt: the session has failed with the reason.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 42501 if another worker has the
    ///   session.
    public func endAttempt(of claim: ClaimedSession, because reason: String) async throws -> Bool {
        let rows = try await pool.query(
            """
            SELECT app.end_attempt(\(claim.session), \(Int32(clamping: claim.attempt)), \(claim.lease.text),
                                   \(reason)) AS has_next
            """, locking: claim.session)
        return try rows.first?.decode("has_next", as: Bool.self) ?? false
    }

    /// The patient of a claimed session, or nil if the session is not in the queue any more.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func patient(of claim: ClaimedSession) async throws -> UserID? {
        try await pool.query("SELECT app.claimed_patient(\(claim.session)) AS patient_id")
            .first?.decode("patient_id", as: UserID?.self)
    }

    /// True if the database knows how long the present stage of a session takes, and estimates the remaining time itself.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func hasExpectation(of claim: ClaimedSession) async throws -> Bool {
        try await pool.query("SELECT app.has_expectation(\(claim.session)) AS is_known")
            .first?.decode("is_known", as: Bool.self) ?? false
    }

    /// Learns from the stages that have ended, and renews the estimates that are far off.
    ///
    /// Each call renews at most 300 estimates. A call within 4 seconds of the last one, by any server, does nothing.
    ///
    /// - Returns: How many estimates were renewed.
    /// - Throws: ``PostgresError`` if the database does not answer.
    @discardableResult
    public func refreshEstimates() async throws -> Int {
        Int(
            try await pool.query("SELECT app.refresh_estimates() AS total").first?.decode("total", as: Int32.self) ?? 0)
    }

    /// The keys of recordings of other sessions, chosen at random.
    ///
    /// - Parameters:
    ///   - session: The session to leave out.
    ///   - most: The maximum number of keys.
    /// - Returns: The keys, fewer if there are fewer recordings.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func sampleRecordings(besides session: SessionID, most: Int) async throws -> [String] {
        try await pool.query("SELECT key FROM app.sample_recordings(\(session), \(Int32(clamping: most))) AS key")
            .map { try $0.decode("key", as: String.self) }
    }

    /// Fails the sessions whose worker died in their last attempt.
    ///
    /// - Returns: The number of failed sessions.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func failLapsed() async throws -> Int {
        Int(
            try await pool.query("SELECT app.fail_lapsed_sessions() AS total").first?.decode("total", as: Int32.self)
                ?? 0)
    }

    /// Stores the transcript.
    ///
    /// - Parameters:
    ///   - json: `{"text": …, "segments": […]}`.
    ///   - claim: The worker's claim to the session.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 42501 if the lease does not
    ///   stand, 22023 for a wrong shape, P0002 if the session was deleted.
    public func storeTranscript(_ json: String, of claim: ClaimedSession) async throws {
        _ = try await pool.query(
            """
            SELECT app.store_transcript(\(claim.session), \(Int32(clamping: claim.attempt)), \(PostgresJSON(text: json)),
                                        \(claim.lease.text))
            """, locking: claim.session)
    }

    /// The final transcript of a claimed session as JSON, or nil if it has none.
    ///
    /// - Parameter claim: The worker's claim to the session.
    /// - Returns: The document as the stage gave it.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 42501 if the lease does not
    ///   stand, P0002 if the session was deleted.
    public func transcript(of claim: ClaimedSession) async throws -> String? {
        try await pool.query(
            """
            SELECT app.claimed_transcript(\(claim.session), \(Int32(clamping: claim.attempt)),
                                          \(claim.lease.text))::text AS transcript
            """, locking: claim.session
        ).first?.decode("transcript", as: String?.self)
    }

    /// Stores the notes.
    ///
    /// - Parameters:
    ///   - json: A JSON object.
    ///   - claim: The worker's claim to the session.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 42501 if the lease does not
    ///   stand, 22023 for a wrong shape, P0002 if the session was deleted.
    public func storeNotes(_ json: String, of claim: ClaimedSession) async throws {
        // As text, which PostgreSQL reads as json. As jsonb, the members would lose their order.
        _ = try await pool.query(
            """
            SELECT app.store_notes(\(claim.session), \(Int32(clamping: claim.attempt)), \(json)::text::json,
                                   \(claim.lease.text))
            """, locking: claim.session)
    }
}
