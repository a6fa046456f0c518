import FoundationEssentials

/// The body of `therapybridge measure FILE`: measures a recording before its transcription, as a stage.
///
/// A stage runs in a cage. No parser of a stranger's file therefore runs in the server or in the worker.
public struct MeasureCommand: Sendable {
    /// The programs that measure.
    public var programs = SpeechPrograms()
    /// The folder of the temporary directory.
    ///
    /// The default is `TMPDIR`, or `/tmp`.
    public var temporaryDirectory = FileManager.default.temporaryDirectory.path

    /// Makes a command with the defaults.
    public init() {}

    /// Measures a file, and prints the result as a JSON line.
    ///
    /// - Parameters:
    ///   - file: The path of the recording.
    ///   - output: Writes one line, without its newline, to standard output.
    ///   - errorOutput: Writes one line to standard error.
    /// - Returns: The exit status: 0, or 1 after a line on standard error.
    public func run(
        file: String, output: @Sendable (String) throws -> Void, errorOutput: @Sendable (String) -> Void
    ) async -> Int32 {
        do {
            let measurement = try await measure(file)
            let result = try JSONEncoder().encode(["result": measurement])
            try output(String(decoding: result, as: UTF8.self))
            return 0
        } catch {
            let error = error as? TranscriberError ?? .failed(detail: "\(error)")
            if let detail = error.detail { errorOutput(detail) }
            errorOutput(error.description)
            return 1
        }
    }

    /// Measures a file.
    func measure(_ file: String) async throws -> MeasuredLength {
        try await PrivateDirectory.with(purpose: "measure", in: temporaryDirectory) { directory in
            let probe = AudioProbe(programs: programs)
            let input = try AudioInput(file: file, linkedIn: directory)
            // A site's own stage may have more memory than the decoders of the bundled one.
            let outline = try await probe.outline(of: input, isForDecoding: false)
            return MeasuredLength(
                seconds: try await probe.length(of: input), announcedSeconds: outline.announced,
                hasCutTrack: try await probe.hasCutTrack(outline, in: input))
        }
    }
}

/// The result of ``MeasureCommand``.
struct MeasuredLength: Sendable, Equatable, Codable {
    /// The length of the recording by its packets, in seconds.
    var seconds: Double
    /// The length that the file announces in seconds, or nil if it announces none.
    var announcedSeconds: Double?
    /// True if one of several tracks ends before its own header says.
    var hasCutTrack: Bool

    private enum CodingKeys: String, CodingKey {
        case seconds = "duration_seconds"
        case announcedSeconds = "announced_seconds"
        case hasCutTrack = "has_cut_track"
    }
}
