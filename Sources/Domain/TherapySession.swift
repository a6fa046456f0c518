/// A therapy session: whose it is, the recording if there is one, and how far its processing has come.
public struct TherapySession: Hashable, Sendable, Codable {
    /// The identifier of the session.
    public var id: SessionID
    /// The patient whose session it is.
    public var patientID: UserID
    /// The therapist who held it.
    ///
    /// Gives no right to see it: only an active assignment does.
    public var therapistID: UserID?
    /// When the session was held.
    public var sessionDate: Timestamp?
    /// The name of the recording on the uploader's machine, without its folders.
    public var filename: String?
    /// The size of the recording in bytes.
    public var bytes: Int64?
    /// The length of the recording in seconds, once it was decoded.
    public var durationSeconds: Double?
    /// When the session was made.
    public var createdAt: Timestamp
    /// How far its processing has come.
    public var progress: SessionProgress

    /// A session with all its members.
    public init(
        id: SessionID, patientID: UserID, therapistID: UserID?, sessionDate: Timestamp?, filename: String?,
        bytes: Int64?, durationSeconds: Double?, createdAt: Timestamp, progress: SessionProgress
    ) {
        self.id = id
        self.patientID = patientID
        self.therapistID = therapistID
        self.sessionDate = sessionDate
        self.filename = filename
        self.bytes = bytes
        self.durationSeconds = durationSeconds
        self.createdAt = createdAt
        self.progress = progress
    }

    private enum CodingKeys: String, CodingKey {
        case id
        case patientID = "patient_id"
        case therapistID = "therapist_id"
        case sessionDate = "session_date"
        case filename, bytes
        case durationSeconds = "duration_seconds"
        case createdAt = "created_at"
        case progress
    }

    /// Encodes every key, with null for what is not known.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(id, forKey: .id)
        try container.encode(patientID, forKey: .patientID)
        try container.encode(therapistID, forKey: .therapistID)
        try container.encode(sessionDate, forKey: .sessionDate)
        try container.encode(filename, forKey: .filename)
        try container.encode(bytes, forKey: .bytes)
        try container.encode(durationSeconds, forKey: .durationSeconds)
        try container.encode(createdAt, forKey: .createdAt)
        try container.encode(progress, forKey: .progress)
    }
}
