import Foundation
import TestSupport
import Testing

@testable import Pipeline

/// A folder of one test with recordings that ffmpeg makes.
struct MadeRecordings: Sendable {
    static let speech = RecordingMaker.speech

    let directory: String

    /// Lends a folder, and removes it.
    static func with<Result: Sendable>(_ body: (MadeRecordings) async throws -> Result) async throws -> Result {
        try await PrivateDirectory.with(purpose: "test") { try await body(MadeRecordings(directory: $0)) }
    }

    /// Runs ffmpeg, whose last argument becomes a file of this folder.
    ///
    /// - Returns: The path of the file.
    func make(_ name: String, _ arguments: [String]) async throws -> String {
        let path = path(name)
        try await RecordingMaker.make(path, arguments)
        return path
    }

    /// Writes a file.
    func write(_ name: String, _ content: Data) throws -> String {
        try content.write(to: URL(filePath: path(name)))
        return path(name)
    }

    /// Writes the first part of another file.
    func cut(_ path: String, to share: Double) throws -> String {
        let whole = try Data(contentsOf: URL(filePath: path))
        return try write("cut-\(URL(filePath: path).lastPathComponent)", whole.prefix(Int(Double(whole.count) * share)))
    }

    /// Measures a recording, as the worker does.
    func measure(_ path: String) async throws -> MeasuredLength {
        var command = MeasureCommand()
        command.temporaryDirectory = directory
        return try await command.measure(path)
    }

    /// Decodes and mixes a recording, without the recogniser.
    func decode(_ path: String, longest: Double = 60) async throws -> DecodedAudio {
        try await PrivateDirectory.with(purpose: "decode", in: directory) { directory in
            let input = try AudioInput(file: path, linkedIn: directory)
            let outline = try await AudioProbe().outline(of: input)
            var audio = DecodedAudio()
            audio.announced = outline.announced
            let bytes = try await AudioDecoder(programs: SpeechPrograms(), longest: longest)
                .decode(input, tracks: outline.tracks) { audio.bytes += $0 }
            #expect(bytes == audio.bytes.count)
            return audio
        }
    }

    func path(_ name: String) -> String { "\(directory)/\(name)" }
}

/// The audio that a test has decoded.
struct DecodedAudio: Sendable {
    var bytes: [UInt8] = []
    var announced: Double?

    var seconds: Double { Double(bytes.count) / Double(AudioDecoder.bytesPerSecond) }

    /// The root of the mean square of the samples in a range of seconds, as a part of full scale.
    func level(in range: ClosedRange<Double>) -> Double {
        let frames = Int(range.lowerBound * 16_000)..<min(Int(range.upperBound * 16_000), bytes.count / 2)
        let squares = frames.reduce(0.0) { sum, frame in
            let sample = Int16(bitPattern: UInt16(bytes[2 * frame]) | UInt16(bytes[2 * frame + 1]) << 8)
            return sum + Double(sample) * Double(sample)
        }
        return (squares / Double(max(frames.count, 1))).squareRoot() / 32_768
    }
}
