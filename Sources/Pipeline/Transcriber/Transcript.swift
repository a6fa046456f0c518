/// The words of a recording, and when they were said.
///
/// Encodes to the result of a transcription stage (docs/pipeline.md, "Stages"): `{"text": …, "segments": [{"start": …,
/// "end": …, "text": …}], "duration_seconds": …}`.
public struct Transcript: Sendable, Equatable, Codable {
    /// A stretch of speech between two pauses.
    public struct Segment: Sendable, Equatable, Codable {
        /// The beginning of the first word, in seconds from the beginning of the recording.
        public var start: Double
        /// The end of the last word, in seconds from the beginning of the recording.
        public var end: Double
        /// The words, separated by single spaces.
        public var text: String

        /// Describes a stretch of speech.
        ///
        /// - Parameters:
        ///   - start: The beginning, in seconds from the beginning of the recording.
        ///   - end: The end in seconds, not before `start`.
        ///   - text: The words.
        public init(start: Double, end: Double, text: String) {
            self.start = start
            self.end = end
            self.text = text
        }
    }

    /// The words of all segments, separated by single spaces.
    public var text: String
    /// The segments in order.
    ///
    /// They do not overlap.
    public var segments: [Segment]
    /// The duration of the decoded audio in seconds.
    public var durationSeconds: Double

    /// Joins segments.
    ///
    /// - Parameters:
    ///   - segments: The segments in order.
    ///   - durationSeconds: The duration of the recording in seconds.
    public init(segments: [Segment], durationSeconds: Double) {
        self.segments = segments
        self.durationSeconds = durationSeconds
        self.text = segments.map(\.text).joined(separator: " ")
    }

    private enum CodingKeys: String, CodingKey {
        case text, segments
        case durationSeconds = "duration_seconds"
    }
}

/// Why a recording has no transcript.
///
/// Therapists see the description.
public enum TranscriberError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file is missing, has no audio, or is too damaged to read.
    case unreadable(detail: String)
    /// The audio has no words.
    case noSpeech
    /// A program or the speech model is missing.
    case notInstalled(what: String, package: String)
    /// The recogniser or the decoder ended early.
    case failed(detail: String)

    /// One sentence for the users who watch the session.
    public var description: String {
        switch self {
        case .unreadable: "The recording could not be read as audio."
        case .noSpeech: "No speech was found in the recording."
        case .notInstalled(let what, let package): "\(what) is not installed: apt-get install \(package)"
        case .failed: "The speech recogniser stopped in the middle of the recording."
        }
    }

    /// What an operator needs to find the cause; nil when the description says it.
    public var detail: String? {
        switch self {
        case .unreadable(let detail), .failed(let detail): detail
        case .noSpeech, .notInstalled: nil
        }
    }
}
