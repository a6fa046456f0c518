public import Foundation
import Subprocess
public import Testing

/// Makes recordings with ffmpeg.
public enum RecordingMaker {
    /// The path of a recording with speech: two sentences, each twice, in a minute.
    public static let speech = packageRoot.appending(path: "Sources/App/Demo/demo-recording.ogg").path

    /// The paths of the first three seconds of ``speech`` in AMR: of a narrow band with 12.2 kbit/s, and of a wide band with
    /// 12.65 kbit/s.
    ///
    /// Debian's ffmpeg decodes AMR, and has no encoder. The libraries opencore-amrnb and vo-amrwbenc made these files.
    public static let amr = (
        narrow: packageRoot.appending(path: "Tests/Recordings/speech.amr").path,
        wide: packageRoot.appending(path: "Tests/Recordings/speech-wide.amr").path
    )

    /// Runs ffmpeg.
    ///
    /// - Parameters:
    ///   - path: The file to write, which is ffmpeg's last argument.
    ///   - arguments: The arguments before it.
    /// - Throws: `ExpectationFailedError` if ffmpeg cannot write the file.
    public static func make(_ path: String, _ arguments: [String]) async throws {
        let outcome = try await Subprocess.run(
            .name("ffmpeg"),
            arguments: Arguments(["-nostdin", "-v", "error", "-y"] + arguments + ["-strict", "-2", path]),
            output: .discarded, error: .string(limit: 1 << 16))
        try #require(outcome.terminationStatus.isSuccess, "\(outcome.standardError)")
    }

    /// Makes a recording, and returns its bytes.
    ///
    /// - Parameters:
    ///   - name: The name of the file, whose extension decides the container.
    ///   - arguments: The arguments of ffmpeg.
    /// - Returns: The bytes.
    /// - Throws: `ExpectationFailedError` if ffmpeg cannot write the file.
    public static func bytes(_ name: String, _ arguments: [String]) async throws -> Data {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-recording-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appending(path: name)
        try await make(file.path(percentEncoded: false), arguments)
        return try Data(contentsOf: file)
    }
}

/// A recording of an unusual shape, from the first seconds of ``RecordingMaker/speech``.
public struct ShapedRecording: Sendable, CustomTestStringConvertible {
    /// What is unusual.
    public var name: String
    /// The name of the file.
    public var file: String
    /// The seconds of audio that can be decoded.
    public var seconds: Double
    /// False if the file announces more than that.
    public var isComplete = true
    /// Makes the file.
    public var make: @Sendable () async throws -> Data

    /// The name.
    public var testDescription: String { name }

    private static func speech(_ seconds: Double) -> [String] { ["-t", "\(seconds)", "-i", RecordingMaker.speech] }

    /// The shapes whose length the headers do not give, or give wrongly.
    public static let ofUnknownLength: [ShapedRecording] = [
        ShapedRecording(name: "an MP3 of variable bit rate without a header", file: "a.mp3", seconds: 6) {
            try await RecordingMaker.bytes(
                "a.mp3", speech(6) + ["-c:a", "libmp3lame", "-q:a", "9", "-write_xing", "0", "-id3v2_version", "0"])
        },
        ShapedRecording(name: "a recording that was cut in half", file: "a.wav", seconds: 5, isComplete: false) {
            let whole = try await RecordingMaker.bytes("a.wav", speech(10) + ["-ar", "16000", "-bitexact"])
            return whole.prefix(44 + 5 * 32_000)
        },
        ShapedRecording(name: "a chain of Ogg streams", file: "a.ogg", seconds: 7) {
            var chain = Data()
            for (number, seconds) in [3.0, 4].enumerated() {
                chain += try await RecordingMaker.bytes(
                    "a.ogg", speech(seconds) + ["-c:a", "libvorbis", "-serial_offset", "\(number * 7)"])
            }
            return chain
        },
        ShapedRecording(name: "three audio tracks of different lengths", file: "a.m4a", seconds: 6) {
            try await RecordingMaker.bytes(
                "a.m4a",
                ["-f", "lavfi", "-t", "2", "-i", "anullsrc=r=16000:cl=mono"] + speech(6) + speech(3)
                    + ["-map", "0:a", "-map", "1:a", "-map", "2:a", "-c:a", "aac"])
        },
    ]
}
