/// Where a therapy session stands on its way from a recording to notes.
///
/// The order of the cases is the order of the way. Which step may follow which is enforced by the database
/// (`app.status_transitions`), whoever writes; the raw values are those of the database and of the HTTP interface.
public enum SessionStatus: String, Sendable, Codable, CaseIterable {
    /// The bytes of the recording arrive (0-20 %).
    case uploading
    /// Waits for a recording or for a worker.
    case pending
    /// A worker prepares the recording.
    case preprocessing
    /// Speech is being recognised (20-60 %).
    case transcribing
    /// Speakers are being told apart.
    case diarizing
    /// The transcript is stored (60 %).
    case transcribed
    /// Notes are being written (60-95 %).
    case extractingNotes = "extracting_notes"
    /// All done (100 %). Final.
    case processed
    /// Stopped by an error. A retry takes it back to ``pending``.
    case failed

    /// Whether a watcher has nothing more to wait for, unless somebody retries.
    public var isFinished: Bool { self == .processed || self == .failed }
}
