public import Domain
public import Postgres

/// A session that a worker has taken: it is the worker's until the lease runs out.
public struct ClaimedSession: Sendable, Equatable {
    /// The session.
    public var session: SessionID
    /// The attempt that the worker works on: what it writes under an older one is refused.
    public var attempt: Int
    /// The key of the recording.
    public var recording: String
    /// When the lease runs out, unless ``PipelineStore/keepLease(of:lease:)`` prolongs it.
    public var leasedUntil: Timestamp
}

/// The way of a session through the pipeline, as a worker goes it: leases, transcripts and notes.
public struct PipelineStore: Sendable {
    private let pool: PostgresPool

    /// Asks the database through a pool of connections.
    public init(pool: PostgresPool) { self.pool = pool }

    /// Takes the session that has waited longest, or one whose worker has let its lease run out.
    ///
    /// - Returns: The session; nil when there is nothing to do.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func claim(worker: String, lease: Duration) async throws -> ClaimedSession? {
        try await pool.query(
            """
            SELECT session_id, attempt, recording, leased_until
            FROM app.claim_session(\(worker), \(lease))
            """
        ).first.map {
            ClaimedSession(
                session: try $0.decode("session_id", as: SessionID.self),
                attempt: Int(try $0.decode("attempt", as: Int32.self)),
                recording: try $0.decode("recording", as: String.self),
                leasedUntil: try $0.decode("leased_until", as: Timestamp.self))
        }
    }

    /// Prolongs a lease.
    ///
    /// - Returns: False when another has the session, or it is no more.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func keepLease(of claim: ClaimedSession, lease: Duration) async throws -> Bool {
        let rows = try await pool.query(
            """
            SELECT app.keep_lease(\(claim.session), \(Int32(clamping: claim.attempt)),
                                  \(lease)) AS is_kept
            """)
        return try rows.first?.decode("is_kept", as: Bool.self) ?? false
    }

    /// Stores the transcript.
    ///
    /// - Parameters:
    ///   - json: `{"text": …, "segments": […]}`.
    ///   - claim: The worker's claim to the session.
    /// - Throws: ``PostgresError`` with SQLSTATE 23514 when another has the session, 22023 when the shape is wrong;
    ///   with another when the database cannot answer.
    public func storeTranscript(_ json: String, of claim: ClaimedSession) async throws {
        _ = try await pool.query(
            "SELECT app.store_transcript(\(claim.session), \(Int32(clamping: claim.attempt)), \(PostgresJSON(text: json)))"
        )
    }

    /// Stores the notes.
    ///
    /// - Throws: ``PostgresError`` with SQLSTATE 23514 when another has the session; with another when the database
    ///   cannot answer.
    public func storeNotes(_ json: String, of claim: ClaimedSession) async throws {
        _ = try await pool.query(
            "SELECT app.store_notes(\(claim.session), \(Int32(clamping: claim.attempt)), \(PostgresJSON(text: json)))")
    }
}
