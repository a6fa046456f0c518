import Domain

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
    /// The duration in seconds that the file announces, or nil if it announces none.
    public var announcedSeconds: Double?

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
        case announcedSeconds = "announced_seconds"
    }
}

/// Why a recording has no transcript.
///
/// Therapists see the description.
public enum TranscriberError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file is missing, has no audio, or is too damaged to read.
    case unreadable(detail: String)
    /// The sound is in a codec that the formats of uploads do not need.
    case unknownCodec(String)
    /// The recording has more audio tracks than the transcriber mixes.
    case tooManyTracks(Int)
    /// The headers of several tracks need more memory than their decoders have together.
    case tracksTooLarge(Int)
    /// A track has more channels than the decoder can separate.
    case tooManyChannels(Int)
    /// A track has too few or too many samples a second.
    case badSampleRate(Int)
    /// The recording is longer than `PIPELINE_MAX_DURATION`.
    case tooLong(seconds: Double)
    /// The audio has no words.
    case noSpeech
    /// A program or the speech model is missing.
    case notInstalled(what: String, package: String)
    /// The recogniser cannot reach its standard input: the cage has no `/proc`, which `/dev/stdin` leads to.
    case noStandardInput
    /// The recogniser or the decoder ended early.
    case failed(detail: String)

    /// One sentence for the users who watch the session.
    public var description: String {
        switch self {
        case .unreadable: "The recording could not be read as audio."
        case .unknownCodec(let codec):
            "The sound of this recording is in a format that cannot be read (\(codec)). Save it as m4a, mp3 or wav, and "
                + "upload that."
        case .tooManyTracks(let count):
            "The recording has \(count) audio tracks; \(AudioLimits.tracks) can be read. Mix them into one, and upload "
                + "that."
        case .tracksTooLarge(let count):
            "The \(count) audio tracks of the recording need too much memory together. Mix them into one, and upload that."
        case .tooManyChannels(let count):
            "The recording has \(count) channels; \(AudioLimits.channels) can be read. Mix them into one, and upload that."
        case .badSampleRate(let rate):
            "The recording has \(rate) samples a second; speech needs at least \(AudioLimits.sampleRates.lowerBound)."
        case .tooLong(let seconds):
            "The recording is longer than \(RecordingLength.clock(seconds)). Divide it, and upload the parts."
        case .noSpeech: "No speech was found in the recording."
        case .notInstalled(let what, let package): "\(what) is not installed: apt-get install \(package)"
        case .noStandardInput: "The speech recogniser cannot work on this server."
        case .failed: "The speech recogniser stopped in the middle of the recording."
        }
    }

    /// What an operator needs to find the cause; nil when the description says it.
    public var detail: String? {
        switch self {
        case .unreadable(let detail), .failed(let detail): detail
        case .noStandardInput:
            "the cage has no /proc, to which /dev/stdin leads; the kernel needs Landlock, or a /proc that is whole"
        default: nil
        }
    }
}
