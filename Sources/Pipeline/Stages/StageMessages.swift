/// The progress of a stage, as the stage reports it.
public struct StageProgress: Sendable, Equatable {
    /// The progress of this stage alone, 0 to 100.
    ///
    /// A value outside is clamped.
    public var progress: Int
    /// What the stage does, for users; at most 2,000 characters.
    public var message: String?
    /// The stage's estimate of the remaining whole seconds, or nil without an estimate.
    public var estimatedTimeRemaining: Int?

    /// Describes the progress of a stage.
    ///
    /// - Parameters:
    ///   - progress: The progress, 0 to 100.
    ///   - message: What the stage does, or nil.
    ///   - estimatedTimeRemaining: The remaining whole seconds, or nil if unknown.
    public init(progress: Int, message: String? = nil, estimatedTimeRemaining: Int? = nil) {
        self.progress = min(max(progress, 0), 100)
        self.message = message.map { String($0.prefix(Self.messageLimit)) }
        self.estimatedTimeRemaining = estimatedTimeRemaining.map { max($0, 0) }
    }

    /// The length of a message in the database: PostgreSQL keeps its first 2,000 characters.
    static let messageLimit = 2_000
}

/// A stretch of speech in a transcript that grows, as a stage prints it before its result.
public struct TranscriptSegment: Sendable, Equatable, Codable {
    /// The beginning, in seconds from the beginning of the recording; finite, and at least 0.
    public var start: Double
    /// The end in seconds; finite, and not before `start`.
    public var end: Double
    /// The words.
    public var text: String
    /// The speaker, or nil if the stage tells no speakers apart.
    public var speaker: String?

    /// Describes a stretch of speech.
    ///
    /// - Parameters:
    ///   - start: The beginning, in seconds from the beginning of the recording.
    ///   - end: The end in seconds, not before `start`.
    ///   - text: The words.
    ///   - speaker: The speaker, or nil.
    public init(start: Double, end: Double, text: String, speaker: String? = nil) {
        self.start = start
        self.end = end
        self.text = text
        self.speaker = speaker
    }

    /// True if the times can be those of a segment.
    var isPossible: Bool { start.isFinite && end.isFinite && start >= 0 && start <= end }
}

/// A change between silence and words of a stage.
public enum StageSilence: Sendable, Equatable {
    /// The stage has printed nothing for this long.
    case began(Duration)
    /// The stage has printed something again.
    case ended
}

/// The news of a stage since the last update.
public struct StageUpdate: Sendable, Equatable {
    /// The newest progress, or nil if the stage has reported none since.
    public var progress: StageProgress?
    /// All segments that the stage has printed since, in their order.
    public var segments: [TranscriptSegment]
    /// The last change between silence and words, or nil if there was none since.
    public var silence: StageSilence?

    /// Describes the news of a stage.
    ///
    /// - Parameters:
    ///   - progress: The newest progress, or nil.
    ///   - segments: The new segments, in their order.
    ///   - silence: The last change between silence and words, or nil.
    public init(
        progress: StageProgress? = nil, segments: [TranscriptSegment] = [], silence: StageSilence? = nil
    ) {
        self.progress = progress
        self.segments = segments
        self.silence = silence
    }

    /// True if there is no news.
    var isEmpty: Bool { progress == nil && segments.isEmpty && silence == nil }
}

/// The result of a stage.
public struct StageResult: Sendable, Equatable {
    /// The value of `result` as the command printed it: valid JSON in UTF-8 that PostgreSQL's `jsonb` accepts.
    ///
    /// `jsonb` refuses `\u0000` and half of a surrogate pair. An end of a segment that lies past the recording is cut
    /// (``StageResultRule``), and secrets are hidden (``SecretValues``).
    public var json: String
    /// The lines of standard output that were passed over.
    public var foreignLines = ForeignLines()

    /// Wraps a result.
    ///
    /// - Parameter json: Valid JSON.
    public init(json: String) {
        self.json = json
    }
}

/// The lines of standard output that a stage did not write for the worker: banners, bars, and lines of other programs.
///
/// It holds none of their text, which may be a patient's words.
public struct ForeignLines: Sendable, Equatable, CustomStringConvertible {
    /// Why a line is passed over.
    public enum Kind: String, Sendable, Equatable, CaseIterable {
        /// The line is no JSON.
        case notJSON = "no JSON"
        /// The line is JSON, but not an object.
        case notAnObject = "JSON, but no object"
        /// The line is an object without a member that the worker knows, or with one of a wrong type.
        case unknown = "an object without a member of a stage"
        /// The line is not UTF-8.
        case notUTF8 = "not UTF-8"
        /// The line is too long.
        case tooLong = "too long"
        /// The line has `NaN` or `Infinity`.
        case notFinite = "NaN or Infinity, which is no JSON (Python: json.dumps(…, allow_nan=False))"
        /// The line has `\u0000` or half of a surrogate pair.
        case badEscape = "\\u0000 or half of a surrogate pair, which no text in PostgreSQL can hold"
    }

    /// One line that was passed over.
    public struct Line: Sendable, Equatable {
        /// The number of the line, from 1.
        public var number: Int
        /// Why it was passed over.
        public var kind: Kind
    }

    /// How many lines were passed over.
    public private(set) var count = 0
    /// The first of them, or nil if there are none.
    public private(set) var first: Line?
    /// The first one with `NaN` or `Infinity`, or nil.
    public private(set) var firstNotFinite: Line?

    /// No lines.
    public init() {}

    /// Counts a line.
    mutating func add(_ line: Line) {
        count += 1
        if first == nil { first = line }
        if firstNotFinite == nil, line.kind == .notFinite { firstNotFinite = line }
    }

    /// The number of the lines, and what the first one is, for the log.
    public var description: String {
        guard let first else { return "none" }
        let lines = [first] + (firstNotFinite == first ? [] : [firstNotFinite].compactMap(\.self))
        return "\(count): " + lines.map { "line \($0.number) is \($0.kind.rawValue)" }.joined(separator: ", ")
    }
}
