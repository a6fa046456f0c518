import Foundation
import Subprocess

/// Measures a recording with ffprobe.
///
/// It runs in the server, on a stranger's file: its programs get none of the server's secrets, and no more time than they need.
public struct AudioProbe: Sendable {
    private let programs: SpeechPrograms
    private let timeout: Duration
    private let clock: any Clock<Duration>

    /// Makes a probe.
    ///
    /// - Parameters:
    ///   - programs: where `ffprobe` and `ffmpeg` are.
    ///   - timeout: how long they may take in all. Reading 500 MiB from a slow disk takes half a minute.
    ///   - clock: the clock by which that is counted.
    public init(
        programs: SpeechPrograms = SpeechPrograms(), timeout: Duration = .seconds(120),
        clock: any Clock<Duration> = ContinuousClock()
    ) {
        self.programs = programs
        self.timeout = timeout
        self.clock = clock
    }

    /// How long the recording is, as its container says, or as its packets say when the container is silent.
    ///
    /// Browsers write WebM as it is recorded, so its header has no duration; then all packets are read once, without decoding.
    ///
    /// - Parameter file: the recording's path.
    /// - Returns: seconds; exact to a packet at best, and for MP3 without a header an estimate from its bit rate.
    /// - Throws: ``TranscriberError/unreadable(detail:)`` when it holds no audio, or cannot be measured; `CancellationError`.
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
        // `-progress` prints blocks of key=value lines; the last block holds the end.
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

/// How ffmpeg and ffprobe are let near a file that a stranger has sent.
enum AudioInput {
    /// Only the file itself may be opened, and only by the demuxers of the formats that the upload accepts.
    ///
    /// A playlist or a concat script that calls itself an MP3 could otherwise make ffmpeg fetch URLs and read the server's files.
    /// Source: FFmpeg Formats Documentation, `format_whitelist`: "the allowed demuxers"; Protocols, `protocol_whitelist`.
    static let options = [
        "-protocol_whitelist", "file",
        "-format_whitelist", "mp3,wav,w64,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,flac,aac",
    ]

    /// The path as a URL of the `file` protocol, so that a colon or a leading hyphen in it means nothing.
    static func url(of file: String) -> String { "file:" + file }
}
