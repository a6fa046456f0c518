public import Domain
import Postgres

/// The transcript of a session: the final one, or the partial one that still grows.
public struct StoredTranscript: Sendable {
    /// The attempt that produced it.
    public var attempt: Int
    /// False while the transcript grows.
    public var isFinal: Bool
    /// The whole text as a JSON string; nil for a partial transcript, which has only segments.
    public var text: String?
    /// The segments as a JSON array, in their order.
    public var segments: String
    /// The other members that the pipeline stored, as a JSON object.
    public var others: String
    /// The length of the recording.
    public var length: RecordingLength

    /// A transcript with all its members.
    public init(
        attempt: Int, isFinal: Bool, text: String?, segments: String, others: String, length: RecordingLength
    ) {
        self.attempt = attempt
        self.isFinal = isFinal
        self.text = text
        self.segments = segments
        self.others = others
        self.length = length
    }
}

extension SessionStore {
    /// The members that the server writes itself, and does not take from the stored document.
    private static let ownMembers = [
        "text", "segments", "attempt", "is_final", "is_complete", "duration_seconds", "announced_seconds",
    ]

    /// The transcript; nil if the session has neither a final transcript nor a segment that the user may see.
    ///
    /// The final transcript of an earlier attempt hides the partial one of the present attempt.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func transcript(of session: SessionID, as principal: Principal) async throws -> StoredTranscript? {
        try await pool.acting(as: principal) { try await Self.readTranscript(of: session, on: $0) }
    }

    /// Reads the transcript of a session that the acting user may see.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    static func readTranscript(
        of session: SessionID, on connection: PostgresConnection
    ) async throws -> StoredTranscript? {
        try await connection.query(
            """
            SELECT coalesce(r.attempt, g.attempt) AS attempt, r.session_id IS NOT NULL AS is_final,
                   (r.body -> 'text')::text AS text, coalesce(r.body -> 'segments', g.segments)::text AS segments,
                   coalesce(r.body - \(Self.ownMembers), '{}')::text AS others,
                   t.duration_seconds, t.announced_seconds, t.has_cut_track
            FROM app.therapy_sessions t
            LEFT JOIN app.transcripts r ON r.session_id = t.id
            CROSS JOIN LATERAL app.partial_transcript(CASE WHEN r.session_id IS NULL THEN t.id END) AS g
            WHERE t.id = \(session) AND (r.session_id IS NOT NULL OR g.segments IS NOT NULL)
            """
        ).first.map { row in
            StoredTranscript(
                attempt: Int(try row.decode("attempt", as: Int32.self)),
                isFinal: try row.decode("is_final", as: Bool.self),
                text: try row.decode("text", as: String?.self),
                segments: try row.decode("segments", as: String.self),
                others: try row.decode("others", as: String.self), length: try RecordingLength(row))
        }
    }
}

extension PipelineStore {
    /// Appends segments to the partial transcript.
    ///
    /// - Parameters:
    ///   - json: The segments, as an array of `{"start": …, "end": …, "text": …}`.
    ///   - first: The index of the first of them. Those that the transcript has already are passed over.
    ///   - claim: The worker's claim to the session.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 42501 if the lease does not
    ///   stand, 22023 for segments that no transcript can have, P0002 if the session was deleted.
    public func addSegments(_ json: String, first: Int, of claim: ClaimedSession) async throws {
        _ = try await pool.query(
            """
            SELECT app.add_segments(\(claim.session), \(Int32(clamping: claim.attempt)), \(Int32(clamping: first)),
                                    \(PostgresJSON(text: json)), \(claim.lease.text))
            """, locking: claim.session)
    }
}
