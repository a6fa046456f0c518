public import Domain
import FoundationEssentials
import Postgres

/// Corrections of the results of a session.
///
/// Each runs in one transaction, which keeps the session from every other correction, and from a worker that stores a result.
/// The caller compares the present result with the one that the user has seen, and decides. The database keeps the replaced
/// result in the history.
extension SessionStore {
    /// Corrects the final transcript.
    ///
    /// The progress stays as it is. Corrections that change nothing make no history.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - principal: The user who corrects it.
    ///   - decide: Gets the present transcript, or nil if there is none. It returns the corrections, or throws to make none.
    /// - Returns: The corrected transcript; nil if the user may correct no such session.
    /// - Throws: The error of `decide`; ``PostgresError`` if the database does not answer, or with SQLSTATE 22023 for a
    ///   correction of no segment, 23514 if the history is full.
    public func correctTranscript(
        of session: SessionID, as principal: Principal,
        _ decide: (StoredTranscript?) throws -> [SegmentCorrection]
    ) async throws -> StoredTranscript? {
        try await correcting(session, as: principal) { connection in
            let corrections = try decide(try await Self.readTranscript(of: session, on: connection))
            let json = String(decoding: try JSONEncoder().encode(corrections), as: UTF8.self)
            let corrected = try await connection.query(
                "SELECT app.correct_transcript(\(session), \(PostgresJSON(text: json))) AS is_corrected"
            ).first?.decode("is_corrected", as: Bool.self)
            guard corrected == true else { return nil }
            return try await Self.readTranscript(of: session, on: connection)
        }
    }

    /// Replaces the notes.
    ///
    /// The progress stays as it is. The same notes make no history.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - principal: The user who corrects it.
    ///   - decide: Gets the present notes as JSON, or nil if there are none. It returns a JSON object, which is stored in
    ///     its form, or throws to keep the present notes.
    /// - Returns: False if the user may correct no such session.
    /// - Throws: The error of `decide`; ``PostgresError`` if the database does not answer, or with SQLSTATE 23514 if the
    ///   history is full.
    public func correctNotes(
        of session: SessionID, as principal: Principal, _ decide: (String?) throws -> String
    ) async throws -> Bool {
        try await correcting(session, as: principal) { connection in
            let notes = try decide(try await Self.readNotes(of: session, on: connection))
            // As text, which PostgreSQL reads as json. As jsonb, the members would lose their order.
            return try await connection.query(
                "SELECT app.correct_notes(\(session), \(notes)::text::json) AS is_corrected"
            ).first?.decode("is_corrected", as: Bool.self) == true ? true : nil
        } ?? false
    }

    /// Runs statements that correct the results of a session, behind its lock.
    ///
    /// - Returns: The value of `body`; nil if the user may correct no such session.
    /// - Throws: ``PostgresError`` if the database does not answer; the error of `body`.
    private func correcting<Value>(
        _ session: SessionID, as principal: Principal, actor: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value?
    ) async throws -> Value? {
        try await pool.acting(as: principal, locking: session) { connection in
            let isLocked = try await connection.query("SELECT app.lock_for_correction(\(session)) AS is_locked")
                .first?.decode("is_locked", as: Bool.self)
            return isLocked == true ? try await body(connection) : nil
        }
    }
}
