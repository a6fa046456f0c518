/// A therapy session: its patient, its recording if it has one, and its progress.
public struct TherapySession: Hashable, Sendable, Codable {
    /// The identifier of the session.
    public var id: SessionID
    /// The patient.
    public var patientID: UserID
    /// The name of the patient; nil if it is not known.
    public var patientName: String?
    /// The therapist who held the session.
    ///
    /// This gives no right to see the session. Only an active assignment does.
    public var therapistID: UserID?
    /// The name of that therapist; nil if it is not known.
    public var therapistName: String?
    /// When the session took place; nil if that is not known.
    public var sessionDate: Timestamp?
    /// The name that the uploader gave the recording, without folders.
    public var filename: String?
    /// The size of the recording in bytes.
    public var bytes: Int64?
    /// The length of the recording in seconds; nil before a worker has measured it.
    public var durationSeconds: Double?
    /// The language that is spoken in the recording; nil if it is not known.
    public var language: LanguageTag?
    /// When the session was created.
    public var createdAt: Timestamp
    /// The progress.
    public var progress: SessionProgress

    /// A session with all its members.
    public init(
        id: SessionID, patientID: UserID, patientName: String?, therapistID: UserID?, therapistName: String?,
        sessionDate: Timestamp?, filename: String?, bytes: Int64?, durationSeconds: Double?, language: LanguageTag?,
        createdAt: Timestamp, progress: SessionProgress
    ) {
        self.id = id
        self.patientID = patientID
        self.patientName = patientName
        self.therapistID = therapistID
        self.therapistName = therapistName
        self.sessionDate = sessionDate
        self.filename = filename
        self.bytes = bytes
        self.durationSeconds = durationSeconds
        self.language = language
        self.createdAt = createdAt
        self.progress = progress
    }

    private enum CodingKeys: String, CodingKey {
        case id
        case patientID = "patient_id"
        case patientName = "patient_name"
        case therapistID = "therapist_id"
        case therapistName = "therapist_name"
        case sessionDate = "session_date"
        case filename, bytes
        case durationSeconds = "duration_seconds"
        case language
        case createdAt = "created_at"
        case progress
    }

    /// Encodes every member; a missing value is null.
    ///
    /// - Throws: The error of the encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(id, forKey: .id)
        try container.encode(patientID, forKey: .patientID)
        try container.encode(patientName, forKey: .patientName)
        try container.encode(therapistID, forKey: .therapistID)
        try container.encode(therapistName, forKey: .therapistName)
        try container.encode(sessionDate, forKey: .sessionDate)
        try container.encode(filename, forKey: .filename)
        try container.encode(bytes, forKey: .bytes)
        try container.encode(durationSeconds, forKey: .durationSeconds)
        try container.encode(language, forKey: .language)
        try container.encode(createdAt, forKey: .createdAt)
        try container.encode(progress, forKey: .progress)
    }
}
