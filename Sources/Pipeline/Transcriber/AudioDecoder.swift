import Subprocess

/// Decodes a recording with ffmpeg to the format of the recogniser: 16,000 samples a second, one channel, signed 16
/// bits, little endian.
struct AudioDecoder: Sendable {
    /// Bytes of decoded audio for one second.
    static let bytesPerSecond = 32_000

    var programs: SpeechPrograms

    /// Decodes a recording from its beginning to its end.
    ///
    /// ffmpeg waits while `consume` runs. Memory therefore holds no more audio than one pipe does.
    ///
    /// - Parameters:
    ///   - file: The path of the recording.
    ///   - consume: Receives the audio in pieces of any length, odd lengths included.
    /// - Returns: The number of decoded bytes.
    /// - Throws: ``TranscriberError/unreadable(detail:)`` when ffmpeg failed or decoded nothing; the error of
    ///   `consume`.
    func decode(_ file: String, consume: ([UInt8]) async throws -> Void) async throws -> Int {
        let outcome = try await run(
            .program(programs.ffmpeg),
            arguments: Arguments(
                ["-nostdin", "-hide_banner", "-v", "error"] + AudioInput.options
                    + ["-i", AudioInput.url(of: file), "-map", "0:a:0", "-vn", "-sn", "-dn"]
                    + ["-ac", "1", "-ar", "16000", "-f", "s16le", "pipe:1"]
            ),
            input: .none,
            output: .sequence,
            error: .sequence
        ) { execution in
            async let tail = OutputTail(of: execution.standardError)
            var decoded = 0
            for try await buffer in execution.standardOutput {
                let bytes = buffer.withUnsafeBytes { Array($0) }
                decoded += bytes.count
                try await consume(bytes)
            }
            return (decoded, await tail)
        }
        try Task.checkCancellation()
        let (decoded, tail) = outcome.closureResult
        guard outcome.terminationStatus.isSuccess, decoded > 0 else {
            throw TranscriberError.unreadable(
                detail: "ffmpeg: \(outcome.terminationStatus), \(decoded) bytes; \(tail.text)"
            )
        }
        return decoded
    }
}
