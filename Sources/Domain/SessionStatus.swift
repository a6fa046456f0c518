/// The status of a session on its way from a recording to notes.
///
/// The cases are in the order of this way. The database enforces the allowed transitions (`app.status_transitions`)
/// for every writer. The raw values are the names in the database and in the HTTP interface.
public enum SessionStatus: String, Sendable, Codable, CaseIterable {
    /// The bytes of the recording arrive (0-20 %).
    case uploading
    /// The session waits for a recording or a worker.
    case pending
    /// A worker prepares the recording.
    case preprocessing
    /// A worker recognizes speech (20-60 %).
    case transcribing
    /// A worker tells the speakers apart.
    case diarizing
    /// The transcript is stored (60 %).
    case transcribed
    /// A worker writes notes (60-95 %).
    case extractingNotes = "extracting_notes"
    /// Processing has succeeded (100 %).
    case processed
    /// Processing has failed. A retry sends the session back to ``pending``.
    case failed

    /// Whether processing has ended.
    ///
    /// Only a retry can continue it.
    public var isFinished: Bool { self == .processed || self == .failed }

    /// The progress in per cent at which a worker begins or continues in this status.
    ///
    /// `app.statuses` has the same values, and a test compares them.
    public var floor: Int {
        switch self {
        case .uploading, .failed: 0
        case .pending, .preprocessing, .transcribing: 20
        case .diarizing: 55
        case .transcribed, .extractingNotes: 60
        case .processed: 100
        }
    }
}
