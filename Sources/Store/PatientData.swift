public import Domain
import Postgres

/// How much an erasure removed.
public struct ErasedData: Sendable, Equatable, Encodable {
    /// Sessions.
    public var sessions: Int64 = 0
    /// Recordings of these sessions.
    public var recordings: Int64 = 0
    /// Uploads that had not ended.
    public var unfinishedUploads: Int64 = 0
    /// Final transcripts.
    public var transcripts: Int64 = 0
    /// Notes.
    public var notes: Int64 = 0
    /// Earlier transcripts and notes.
    public var history: Int64 = 0
    /// Stages that had failed, with their last words.
    public var stageFailures: Int64 = 0
    /// Events.
    public var events: Int64 = 0

    /// Nothing.
    public init() {}

    private enum CodingKeys: String, CodingKey {
        case sessions, recordings, transcripts, notes, history, events
        case unfinishedUploads = "unfinished_uploads"
        case stageFailures = "stage_failures"
    }

    /// Adds what another step removed.
    public static func += (sum: inout ErasedData, step: ErasedData) {
        sum.sessions += step.sessions
        sum.recordings += step.recordings
        sum.unfinishedUploads += step.unfinishedUploads
        sum.transcripts += step.transcripts
        sum.notes += step.notes
        sum.history += step.history
        sum.stageFailures += step.stageFailures
        sum.events += step.events
    }
}

/// An assignment of a patient, as the patient sees it.
public struct PatientAssignment: Sendable, Encodable {
    /// The therapist.
    public var therapist: UserID
    /// The name of the therapist; nil if the acting user may not see it, as a patient after the end.
    public var therapistName: String?
    /// True while the assignment gives the therapist rights.
    public var isActive: Bool
    /// When the assignment last began.
    public var startedAt: Timestamp
    /// When the assignment ended; nil while it is active.
    public var endedAt: Timestamp?

    private enum CodingKeys: String, CodingKey {
        case therapist = "therapist_id"
        case therapistName = "therapist_name"
        case isActive = "is_active"
        case startedAt = "started_at"
        case endedAt = "ended_at"
    }

    /// Encodes every member; a missing value is null.
    ///
    /// - Throws: The error of the encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(therapist, forKey: .therapist)
        try container.encode(therapistName, forKey: .therapistName)
        try container.encode(isActive, forKey: .isActive)
        try container.encode(startedAt, forKey: .startedAt)
        try container.encode(endedAt, forKey: .endedAt)
    }
}

// What is held of one patient.
extension SessionStore {
    /// How many sessions one step of an erasure removes.
    public static let erasureStep = 100

    /// Removes some sessions of a patient, with everything that belongs to them.
    ///
    /// - Returns: How much that was, and the keys of the recordings whose files have to be removed; fewer sessions than
    ///   ``erasureStep`` if the patient has no more. Nil if the acting user may not erase.
    /// - Throws: ``PostgresError`` if the database does not answer. A step removes all of its sessions, or none.
    public func eraseSome(
        of patient: UserID, as principal: Principal
    ) async throws -> (erased: ErasedData, files: [String])? {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                "SELECT * FROM app.erase_patient_data(\(patient), \(Int32(Self.erasureStep)))"
            ).first.map { row in
                var erased = ErasedData()
                erased.sessions = try row.decode("sessions", as: Int64.self)
                erased.recordings = try row.decode("recordings", as: Int64.self)
                erased.unfinishedUploads = try row.decode("unfinished_uploads", as: Int64.self)
                erased.transcripts = try row.decode("transcripts", as: Int64.self)
                erased.notes = try row.decode("notes", as: Int64.self)
                erased.history = try row.decode("history", as: Int64.self)
                erased.stageFailures = try row.decode("stage_failures", as: Int64.self)
                erased.events = try row.decode("events", as: Int64.self)
                return (erased, try row.decode("files", as: [String].self))
            }
        }
    }

    /// The assignments of a patient, present and ended, the newest first; those that the acting user sees.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func assignments(ofPatient patient: UserID, as principal: Principal) async throws -> [PatientAssignment] {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                """
                SELECT a.therapist_id, u.full_name, a.is_active, a.started_at, a.ended_at
                FROM app.therapist_patients a LEFT JOIN app.users u ON u.id = a.therapist_id
                WHERE a.patient_id = \(patient) ORDER BY a.started_at DESC, a.therapist_id
                """
            ).map { row in
                PatientAssignment(
                    therapist: try row.decode("therapist_id", as: UserID.self),
                    therapistName: try row.decode("full_name", as: String?.self),
                    isActive: try row.decode("is_active", as: Bool.self),
                    startedAt: try row.decode("started_at", as: Timestamp.self),
                    endedAt: try row.decode("ended_at", as: Timestamp?.self))
            }
        }
    }

    /// The last words of all stages of a session that failed, the newest first; none if the user may not read them.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func failures(of session: SessionID, as principal: Principal) async throws -> [StageFailureRecord] {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                """
                SELECT attempt, stage, exit_status, output_tail, at FROM app.stage_failures
                WHERE session_id = \(session) ORDER BY id DESC
                """
            ).map(StageFailureRecord.init)
        }
    }
}
