import Foundation
import Subprocess

/// Measures the duration of a recording with ffprobe.
///
/// The recording comes from a stranger. The programs therefore get none of the server's secrets, and run under a
/// timeout.
public struct AudioProbe: Sendable {
    private let programs: SpeechPrograms
    private let timeout: Duration
    private let clock: any Clock<Duration>

    /// Makes a probe.
    ///
    /// - Parameters:
    ///   - programs: The paths of `ffprobe` and `ffmpeg`.
    ///   - timeout: The limit for both programs together. Reading 500 MiB from a slow disk takes half a minute.
    ///   - clock: The clock that measures the timeout.
    public init(
        programs: SpeechPrograms = SpeechPrograms(), timeout: Duration = .seconds(120),
        clock: any Clock<Duration> = ContinuousClock()
    ) {
        self.programs = programs
        self.timeout = timeout
        self.clock = clock
    }

    /// Returns the duration of a recording: from its header, or from its packets when the header has none.
    ///
    /// Browsers write WebM without a duration in the header. Then ffmpeg reads all packets once, without decoding.
    ///
    /// - Parameter file: The path of the recording.
    /// - Returns: The duration in seconds, exact to a packet. For MP3 without a header it is an estimate from the bit
    ///   rate.
    /// - Throws: ``TranscriberError/unreadable(detail:)`` when the file has no audio or cannot be measured;
    ///   `CancellationError`.
    public func duration(of file: String) async throws -> Double {
        do {
            return try await withThrowingTaskGroup(of: Double.self) { group in
                group.addTask { try await durationByHeader(of: file) }
                group.addTask {
                    try await clock.sleep(for: timeout)
                    throw TranscriberError.unreadable(detail: "ffprobe was not done after \(timeout)")
                }
                defer { group.cancelAll() }
                guard let duration = try await group.next() else { throw CancellationError() }
                return duration
            }
        } catch let error as SubprocessError {
            try Task.checkCancellation()
            throw TranscriberError.unreadable(detail: "\(programs.ffprobe): \(error)")
        }
    }

    private func durationByHeader(of file: String) async throws -> Double {
        let result = try await run(
            .program(programs.ffprobe),
            arguments: Arguments(
                ["-v", "error"] + AudioInput.options
                    + ["-select_streams", "a", "-show_entries", "format=duration:stream=codec_name", "-of", "json"]
                    + [AudioInput.url(of: file)]
            ),
            environment: .scrubbed(),
            output: .string(limit: 256 * 1_024),
            error: .discarded
        )
        try Task.checkCancellation()
        guard result.terminationStatus.isSuccess,
            let report = try? JSONDecoder().decode(Report.self, from: Data(result.standardOutput.utf8)),
            report.streams?.isEmpty == false
        else {
            throw TranscriberError.unreadable(detail: "ffprobe found no audio (\(result.terminationStatus))")
        }
        if let seconds = report.format?.duration.flatMap(Double.init), seconds > 0 { return seconds }
        return try await durationByPackets(of: file)
    }

    private func durationByPackets(of file: String) async throws -> Double {
        let result = try await run(
            .program(programs.ffmpeg),
            arguments: Arguments(
                ["-nostdin", "-v", "error"] + AudioInput.options
                    + ["-i", AudioInput.url(of: file), "-map", "0:a:0", "-c", "copy", "-f", "null"]
                    + ["-stats_period", "60", "-progress", "pipe:1", "-"]
            ),
            environment: .scrubbed(),
            output: .string(limit: 1_024 * 1_024),
            error: .discarded
        )
        try Task.checkCancellation()
        // `-progress` prints blocks of key=value lines. The last block has the final time.
        let times = result.standardOutput.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("out_time_us=") }
        guard let last = times.last, let microseconds = Double(last.dropFirst("out_time_us=".count)) else {
            throw TranscriberError.unreadable(detail: "no packet could be read (\(result.terminationStatus))")
        }
        return max(microseconds / 1_000_000, 0)
    }

    private struct Report: Decodable {
        struct Stream: Decodable {}
        struct Format: Decodable { var duration: String? }
        var streams: [Stream]?
        var format: Format?
    }
}

/// The options with which ffmpeg and ffprobe open a file from a stranger.
enum AudioInput {
    /// Allows the file itself and the demuxers of the formats that an upload accepts, and nothing else.
    ///
    /// A playlist or a concat script with the name of an MP3 could otherwise make ffmpeg fetch URLs and read the
    /// server's files. Source: FFmpeg Formats Documentation, `format_whitelist`: "the allowed demuxers"; Protocols,
    /// `protocol_whitelist`.
    static let options = [
        "-protocol_whitelist", "file",
        "-format_whitelist", "mp3,wav,w64,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,flac,aac",
    ]

    /// The path as a URL of the `file` protocol, in which a colon or a leading hyphen has no meaning.
    static func url(of file: String) -> String { "file:" + file }
}
