public import Domain
import Postgres

/// The last words of a stage that failed.
public struct StageFailureRecord: Sendable, Equatable {
    /// The attempt in which the stage ran.
    public var attempt: Int
    /// `measure`, `transcribe` or `notes`.
    public var stage: String
    /// How the stage ended: its exit status, or 128 and the number of a signal; nil if it did not end itself.
    public var exitStatus: Int?
    /// The end of what it printed to standard error, which may hold a patient's words.
    public var outputTail: String
    /// When the stage failed, or nil in a record that the database does not have yet.
    public var at: Timestamp?

    /// Describes the end of a stage.
    ///
    /// - Parameters:
    ///   - attempt: The attempt in which the stage ran.
    ///   - stage: `measure`, `transcribe` or `notes`.
    ///   - exitStatus: How the stage ended, or nil.
    ///   - outputTail: The end of what it printed to standard error.
    ///   - at: When the stage failed, or nil for now.
    public init(attempt: Int, stage: String, exitStatus: Int?, outputTail: String, at: Timestamp? = nil) {
        self.attempt = attempt
        self.stage = stage
        self.exitStatus = exitStatus
        self.outputTail = outputTail
        self.at = at
    }
}

extension PipelineStore {
    /// Records the last words of a stage that failed; does nothing without the lease.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func record(_ failure: StageFailureRecord, of claim: ClaimedSession) async throws {
        _ = try await pool.query(
            """
            SELECT app.record_stage_failure(\(claim.session), \(Int32(clamping: failure.attempt)), \(claim.lease.text),
                \(failure.stage), \(failure.exitStatus.map(Int32.init(clamping:))), \(failure.outputTail))
            """, locking: claim.session)
    }
}

extension SessionStore {
    /// The last words of the stage of a session that failed last; nil if none has, or if the user may not read them.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func failure(of session: SessionID, as principal: Principal) async throws -> StageFailureRecord? {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                """
                SELECT attempt, stage, exit_status, output_tail, at FROM app.stage_failures
                WHERE session_id = \(session) ORDER BY id DESC LIMIT 1
                """
            ).first.map(StageFailureRecord.init)
        }
    }
}

extension StageFailureRecord {
    /// Reads a row of `app.stage_failures`.
    ///
    /// - Throws: ``PostgresError`` with code `decoding` if a column has another type.
    init(_ row: PostgresRow) throws {
        self.init(
            attempt: Int(try row.decode("attempt", as: Int32.self)),
            stage: try row.decode("stage", as: String.self),
            exitStatus: try row.decode("exit_status", as: Int32?.self).map { Int($0) },
            outputTail: try row.decode("output_tail", as: String.self),
            at: try row.decode("at", as: Timestamp.self))
    }
}
