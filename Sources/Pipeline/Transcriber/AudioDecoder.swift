import Subprocess

/// Decodes any accepted recording with ffmpeg to what the recogniser takes: 16,000 samples a second, one channel, 16 bits signed,
/// little endian.
struct AudioDecoder: Sendable {
    /// Bytes of decoded audio for one second.
    static let bytesPerSecond = 32_000

    var programs: SpeechPrograms

    /// Decodes a recording from its beginning to its end.
    ///
    /// ffmpeg waits whenever `consume` does: a pipe's worth of audio is all that is ever held.
    ///
    /// - Parameters:
    ///   - file: the recording's path.
    ///   - consume: gets the audio in pieces of any length, also odd ones.
    /// - Returns: the number of bytes decoded.
    /// - Throws: ``TranscriberError/unreadable(detail:)`` when nothing could be decoded or ffmpeg gave up; what `consume` throws.
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
