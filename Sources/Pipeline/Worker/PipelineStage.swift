/// A stage of the pipeline, by its name in the records of failures.
public enum PipelineStage: String, Sendable, CaseIterable {
    /// Measures the recording.
    case measure
    /// Writes the transcript.
    case transcribe
    /// Writes the notes.
    case notes
}
