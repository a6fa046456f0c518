/// What was said in a recording, and when.
///
/// Encodes to the result of a transcription stage (docs/pipeline.md, "Stages"):
/// `{"text": …, "segments": [{"start": …, "end": …, "text": …}], "duration_seconds": …}`.
public struct Transcript: Sendable, Equatable, Codable {
    /// One stretch of speech between two pauses.
    public struct Segment: Sendable, Equatable, Codable {
        /// Seconds from the beginning of the recording to the first word.
        public var start: Double
        /// Seconds from the beginning of the recording to the end of the last word.
        public var end: Double
        /// The words, separated by single spaces.
        public var text: String

        /// Describes a stretch of speech.
        ///
        /// - Parameters:
        ///   - start: seconds from the beginning of the recording.
        ///   - end: seconds, not before `start`.
        ///   - text: the words.
        public init(start: Double, end: Double, text: String) {
            self.start = start
            self.end = end
            self.text = text
        }
    }

    /// All segments' words, separated by single spaces.
    public var text: String
    /// The segments in the order in which they were said; they do not overlap.
    public var segments: [Segment]
    /// How long the recording is, by its decoded audio.
    public var durationSeconds: Double

    /// Puts segments together.
    ///
    /// - Parameters:
    ///   - segments: in order.
    ///   - durationSeconds: the length of the recording.
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

/// Why a recording has no transcript; its description is what a therapist reads.
public enum TranscriberError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file is not there, holds no audio, or is damaged beyond reading.
    case unreadable(detail: String)
    /// There is audio, and no word in it.
    case noSpeech
    /// A program or the speech model is missing.
    case notInstalled(what: String, package: String)
    /// The recogniser or the decoder ended in the middle.
    case failed(detail: String)

    /// One sentence for the people who watch the session.
    public var description: String {
        switch self {
        case .unreadable: "The recording could not be read as audio."
        case .noSpeech: "No speech was found in the recording."
        case .notInstalled(let what, let package): "\(what) is not installed: apt-get install \(package)"
        case .failed: "The speech recogniser stopped in the middle of the recording."
        }
    }

    /// What an operator needs to find the cause; nil when the description says all.
    public var detail: String? {
        switch self {
        case .unreadable(let detail), .failed(let detail): detail
        case .noSpeech, .notInstalled: nil
        }
    }
}
