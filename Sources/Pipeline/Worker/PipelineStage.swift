/// A stage of the pipeline, by its name in the records of failures.
public enum PipelineStage: String, Sendable, CaseIterable {
    /// Measures the recording.
    case measure
    /// Writes the transcript.
    case transcribe
    /// Writes the notes.
    case notes

    /// The stages whose durations and foreign lines are counted.
    static let counted: [PipelineStage] = [.transcribe, .notes]

    /// The name in the metrics.
    var label: String {
        switch self {
        case .measure: "measurement"
        case .transcribe: "transcription"
        case .notes: "notes"
        }
    }
}
