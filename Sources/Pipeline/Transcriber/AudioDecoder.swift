import AsyncAlgorithms
import Cage
import Subprocess

/// Decodes a recording with ffmpeg to the format of the recogniser: 16,000 samples a second, one channel, signed 16
/// bits, little endian.
///
/// Each track has an ffmpeg of its own, which neither mixes nor drops a channel: ``ChannelMixer`` does that. All of them
/// read the headers of the whole file. Together they may use less memory than one program of a cage.
struct AudioDecoder: Sendable {
    /// Samples of decoded audio for one second.
    static let framesPerSecond = 16_000
    /// Bytes of decoded audio for one second.
    static let bytesPerSecond = 2 * framesPerSecond

    var programs: SpeechPrograms
    /// The longest recording, in seconds.
    var longest: Double

    /// Decodes a recording from its beginning to its end.
    ///
    /// ffmpeg waits while `consume` runs. Memory therefore holds no more audio than one pipe does.
    ///
    /// - Parameters:
    ///   - input: The recording.
    ///   - tracks: Its tracks, at least one.
    ///   - consume: Receives the audio in pieces of any length.
    /// - Returns: The number of decoded bytes.
    /// - Throws: ``TranscriberError/unreadable(detail:)`` when ffmpeg decoded nothing;
    ///   ``TranscriberError/tracksTooLarge(_:)`` when a track did not fit into its part of the memory;
    ///   ``TranscriberError/failed(detail:)`` when a signal ended it; ``TranscriberError/tooLong(seconds:)``; the error
    ///   of `consume`.
    func decode(
        _ input: AudioInput, tracks: [AudioTrack], consume: ([UInt8]) async throws -> Void
    ) async throws -> Int {
        var decoded = 0
        let failure = try await mixed(input, tracks) { samples in
            decoded += 2 * samples.count
            guard Double(decoded) <= longest * Double(Self.bytesPerSecond) else {
                throw TranscriberError.tooLong(seconds: longest)
            }
            try await consume(samples.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] })
        }
        guard decoded > 0 else { throw TranscriberError.unreadable(detail: "ffmpeg: \(failure ?? "0 bytes")") }
        return decoded
    }

    /// The memory that the decoder of each of several tracks may write to, in bytes; nil for a single track.
    static func memory(ofEachOf tracks: Int) -> Int? {
        // The transcriber and its recognisers have the rest.
        tracks > 1 ? (CageBudget.bundledAddressSpace - (128 << 20)) / tracks : nil
    }

    /// True if ffmpeg or ffprobe said that it had too little memory.
    ///
    /// The first text is the C library's for `ENOMEM`. After the second one, both go on, leave out the rest of the track, and end with
    /// status 0.
    static func lacksMemory(_ output: String) -> Bool {
        ["Cannot allocate memory", "Cannot add index entry"].contains { output.contains($0) }
    }

    /// Decodes and mixes all tracks.
    ///
    /// - Returns: What ffmpeg said about a track that it could not decode to its end, or nil.
    private func mixed(
        _ input: AudioInput, _ tracks: [AudioTrack], consume: ([Int16]) async throws -> Void
    ) async throws -> String? {
        if tracks.count == 1 { return try await decode(tracks[0], of: input, among: 1, consume: consume) }
        return try await withThrowingTaskGroup(of: String?.self) { group in
            var mixer = TrackMixer(count: tracks.count)
            let channels = tracks.map { _ in AsyncChannel<[Int16]>() }
            for (track, channel) in zip(tracks, channels) {
                group.addTask {
                    defer { channel.finish() }
                    return try await decode(track, of: input, among: tracks.count) { await channel.send($0) }
                }
            }
            defer { group.cancelAll() }
            var iterators = channels.map { $0.makeAsyncIterator() }
            // Reads the track that is behind. The others wait for it in their pipes.
            while let number = mixer.trackBehind {
                if let samples = await iterators[number].next() {
                    mixer.take(samples, from: number)
                } else {
                    try Task.checkCancellation()
                    mixer.end(number)
                }
                try await consume(mixer.mix())
            }
            try await consume(mixer.finish())
            var failure: String?
            for try await ended in group { failure = failure ?? ended }
            return failure
        }
    }

    /// Decodes one of several tracks, mixes its channels, and puts silence in front of it up to its start.
    private func decode(
        _ track: AudioTrack, of input: AudioInput, among count: Int, consume: ([Int16]) async throws -> Void
    ) async throws -> String? {
        var silence = Int(min(track.start, longest) * Double(Self.framesPerSecond))
        while silence > 0 {
            let count = min(silence, Self.framesPerSecond)
            try await consume([Int16](repeating: 0, count: count))
            silence -= count
        }
        var stream = AudioStream()
        var mixer: ChannelMixer?
        var command = command(for: track, of: input)
        command.memory = Self.memory(ofEachOf: count)
        let ending = try await command.stream { bytes in
            let samples: [Int16]
            do {
                samples = try stream.take(bytes)
            } catch {
                throw TranscriberError.failed(detail: "ffmpeg printed no audio")
            }
            if mixer == nil { mixer = stream.channels.map { ChannelMixer(channels: $0) } }
            if let mixed = mixer?.mix(samples), !mixed.isEmpty { try await consume(mixed) }
        }
        if let rest = mixer?.finish(), !rest.isEmpty { try await consume(rest) }
        // ``AudioProbe`` has tried the headers. A file of fragments has more of them further on.
        if command.memory != nil, Self.lacksMemory(ending.description) { throw TranscriberError.tracksTooLarge(count) }
        switch ending.status {
        case .exited(0): return nil
        // What could be decoded of a damaged file is not in vain.
        case .exited: return ending.description
        case .signaled: throw TranscriberError.failed(detail: "ffmpeg: \(ending.description)")
        }
    }

    private func command(for track: AudioTrack, of input: AudioInput) -> ToolCommand {
        ToolCommand(
            program: programs.ffmpeg,
            arguments: ["-nostdin", "-hide_banner", "-v", "error"] + input.decodingOptions
                + ["-i", input.url, "-map", "0:a:\(track.ordinal)", "-map_metadata", "-1", "-threads", "1"]
                // A second more than allowed shows that the recording is too long.
                + ["-t", "\(longest + 1)", "-c:a", "pcm_s16be", "-ar", "\(Self.framesPerSecond)"]
                + ["-f", "au", "pipe:1"]
        )
    }
}
