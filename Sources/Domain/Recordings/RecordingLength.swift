/// The length of a recording: what its file announces, and what could be decoded of it.
///
/// The header of a file says how long the recording is. A file that was cut, such as one of a phone whose battery was
/// empty, has less.
public struct RecordingLength: Sendable, Equatable {
    /// The seconds of audio that were decoded, or nil if they are not known yet.
    public var decoded: Double?
    /// The seconds of audio that the header of the file announces, or nil if it announces none.
    ///
    /// MP3 without a Xing header, ADTS, AMR and streamed files announce none.
    public var announced: Double?
    /// True if one of several tracks ends before its own header says.
    ///
    /// ``decoded`` is the length of the longest track, which hides that.
    public var hasCutTrack: Bool

    /// Describes the length of a recording.
    ///
    /// - Parameters:
    ///   - decoded: The decoded seconds, or nil.
    ///   - announced: The announced seconds, or nil.
    ///   - hasCutTrack: True if one of several tracks ends before its own header says.
    public init(decoded: Double?, announced: Double?, hasCutTrack: Bool = false) {
        self.decoded = decoded
        self.announced = announced
        self.hasCutTrack = hasCutTrack
    }

    /// False if less was decoded than the file announces.
    ///
    /// Half a second, and two seconds in a thousand, may be missing: encoders count their padding, and the clock of a
    /// microphone differs from the clock of its recorder.
    public var isComplete: Bool { !hasCutTrack && !isShort }

    /// True if the longest track ends before the announced end.
    private var isShort: Bool {
        guard let decoded, let announced else { return false }
        return announced - decoded > 0.5 + announced * 0.002
    }

    /// One sentence about an incomplete recording, for the users who watch its session; nil for a complete one.
    public var notice: String? {
        guard let decoded, let announced, isShort else {
            return hasCutTrack ? "The recording is incomplete: one of its tracks ends before its announced end." : nil
        }
        return """
            The recording is incomplete: the file announces \(Self.clock(announced)), but only \
            \(Self.clock(decoded)) could be read.
            """
    }

    /// Writes a time as a player does: `0:03`, `59:30`, `1:02:03`.
    ///
    /// - Parameter seconds: The time in seconds.
    /// - Returns: The text.
    public static func clock(_ seconds: Double) -> String {
        let whole = Int(min(max(seconds, 0), 1e9).rounded())
        func pair(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let (hours, minutes) = (whole / 3600, whole / 60 % 60)
        return (hours > 0 ? "\(hours):\(pair(minutes))" : "\(minutes)") + ":" + pair(whole % 60)
    }
}
