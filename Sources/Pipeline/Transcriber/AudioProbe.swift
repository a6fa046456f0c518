import Domain
import FoundationEssentials
import Subprocess

/// Measures a recording with ffprobe and ffmpeg.
///
/// The recording comes from a stranger. The programs therefore get none of the server's secrets, and run under a
/// timeout.
struct AudioProbe: Sendable {
    private let programs: SpeechPrograms
    private let timeout: Duration
    private let clock: any Clock<Duration>

    /// Makes a probe.
    ///
    /// - Parameters:
    ///   - programs: The paths of `ffprobe` and `ffmpeg`.
    ///   - timeout: The limit of one run. Reading 500 MiB from a slow disk takes half a minute.
    ///   - clock: The clock that measures the timeout.
    init(
        programs: SpeechPrograms = SpeechPrograms(), timeout: Duration = .seconds(120),
        clock: any Clock<Duration> = ContinuousClock()
    ) {
        self.programs = programs
        self.timeout = timeout
        self.clock = clock
    }

    /// Reads the headers of a recording: its audio tracks, and the length that it announces.
    ///
    /// ffprobe reads no packet for that, and runs no decoder over one. It therefore estimates nothing: of an MP3
    /// without a header, it would announce the length that the first frame's bit rate gives.
    ///
    /// - Parameters:
    ///   - input: The recording.
    ///   - isForDecoding: True to find the starts of several tracks, and to try whether their decoders have memory enough.
    /// - Returns: The tracks, and the announced length.
    /// - Throws: ``TranscriberError`` when the recording has no audio track, cannot be read, or exceeds a limit;
    ///   `CancellationError`.
    func outline(of input: AudioInput, isForDecoding: Bool = true) async throws -> RecordingOutline {
        try await limited {
            let shown = """
                format=duration:format_tags=none:stream=index,codec_type,codec_name,sample_rate,channels,start_time,\
                duration:stream_tags=DURATION:stream_disposition=attached_pic
                """
            let (text, ending) = try await ToolCommand(
                program: programs.ffprobe,
                arguments: ["-v", "error", "-threads", "1"] + input.options
                    + ["-nofind_stream_info", "-show_entries", shown, "-of", "json", input.url]
            ).output(limit: 256 * 1_024)
            guard ending.status.isSuccess else {
                throw TranscriberError.unreadable(detail: "ffprobe: \(ending.description)")
            }
            var outline = try RecordingOutline(answer: text, header: input.header)
            if isForDecoding, outline.tracks.count > 1 { try await findStarts(of: &outline, in: input) }
            return outline
        }
    }

    /// The length of the recording by its packets, in seconds.
    ///
    /// ffmpeg reads all packets once and decodes none. The headers do not count: they may announce what is not there.
    ///
    /// - Parameter input: The recording.
    /// - Returns: The length of the longest track, exact to a packet. A chain of Ogg streams may be longer.
    /// - Throws: ``TranscriberError/unreadable(detail:)`` when no packet can be read; `CancellationError`.
    func length(of input: AudioInput) async throws -> Double {
        let (seconds, ending) = try await lastPacket(of: "0:a", in: input)
        guard let seconds else {
            throw TranscriberError.unreadable(detail: "no packet could be read: \(ending.description)")
        }
        return max(seconds, 0)
    }

    /// Compares each of several tracks with its own header, as ``RecordingLength`` compares the longest one.
    ///
    /// A file may store one track behind the other. The end of such a file is the end of one track alone.
    ///
    /// - Parameters:
    ///   - outline: The tracks of the recording.
    ///   - input: The recording.
    /// - Returns: True if the packets of a track end before its header says; false for a single track.
    /// - Throws: ``TranscriberError/unreadable(detail:)`` when a track takes too long to read; `CancellationError`.
    func hasCutTrack(_ outline: RecordingOutline, in input: AudioInput) async throws -> Bool {
        guard outline.tracks.count > 1 else { return false }
        for track in outline.tracks {
            guard let announced = track.announcedEnd else { continue }
            let read = try await lastPacket(of: "0:a:\(track.ordinal)", in: input).end ?? 0
            if !RecordingLength(decoded: read, announced: announced).isComplete { return true }
        }
        return false
    }

    /// Reads all packets of tracks.
    ///
    /// - Parameters:
    ///   - tracks: The tracks, as ffmpeg's option `-map` names them.
    ///   - input: The recording.
    /// - Returns: The end of the last packet in seconds, nil without a packet, and how ffmpeg ended.
    /// - Throws: ``TranscriberError/unreadable(detail:)`` when that takes too long; `CancellationError`.
    private func lastPacket(
        of tracks: String, in input: AudioInput
    ) async throws -> (end: Double?, ending: ToolCommand.Ending) {
        try await limited {
            let (text, ending) = try await ToolCommand(
                program: programs.ffmpeg,
                arguments: ["-nostdin", "-v", "error"] + input.decodingOptions
                    + ["-i", input.url, "-map", tracks, "-c", "copy", "-f", "null"]
                    + ["-stats_period", "60", "-progress", "pipe:1", "-"]
            ).output(limit: 1_024 * 1_024)
            // `-progress` prints blocks of key=value lines. The last block has the final time.
            let last = text.split(whereSeparator: \.isNewline).last { $0.hasPrefix("out_time_us=") }
            let microseconds = last.flatMap { Double($0.dropFirst("out_time_us=".count)) }
            return (microseconds.map { $0 / 1_000_000 }, ending)
        }
    }

    /// The memory that a decoder needs in addition to what ffprobe needs for the same headers, in bytes.
    private static let decodingMemory = 2 << 20

    /// Finds when each track begins: at its first packet.
    ///
    /// - Throws: ``TranscriberError/tracksTooLarge(_:)`` if a decoder would lose a track, because each has only a part of the memory.
    private func findStarts(of outline: inout RecordingOutline, in input: AudioInput) async throws {
        let count = outline.tracks.count
        let memory = AudioDecoder.memory(ofEachOf: count).map { $0 - Self.decodingMemory }
        for index in outline.tracks.indices {
            let ordinal = outline.tracks[index].ordinal
            let (first, ending) = try await firstPacket(of: ordinal, in: input, memory: memory)
            var isTooLarge = AudioDecoder.lacksMemory(ending.description)
            // Some headers need one block of memory for a whole track. If there is none, ffprobe leaves out the track without a word.
            if first == nil, !isTooLarge {
                isTooLarge = try await firstPacket(of: ordinal, in: input, memory: nil).time != nil
            }
            if isTooLarge { throw TranscriberError.tracksTooLarge(count) }
            // A track without packets begins with the others, and is silent.
            outline.tracks[index].start = first ?? .infinity
        }
        let earliest = outline.tracks.map(\.start).filter(\.isFinite).min() ?? 0
        for index in outline.tracks.indices {
            let start = outline.tracks[index].start
            outline.tracks[index].start = start.isFinite ? start - earliest : 0
        }
    }

    /// The time of the first packet of a track in seconds, nil without one, and how ffprobe ended.
    private func firstPacket(
        of ordinal: Int, in input: AudioInput, memory: Int?
    ) async throws -> (time: Double?, ending: ToolCommand.Ending) {
        var command = ToolCommand(
            program: programs.ffprobe,
            arguments: ["-v", "error", "-threads", "1"] + input.options
                + ["-nofind_stream_info", "-select_streams", "a:\(ordinal)"]
                + ["-read_intervals", "%+#1", "-show_entries", "packet=pts_time", "-of", "csv=p=0", input.url])
        command.memory = memory
        let (text, ending) = try await command.output(limit: 64 * 1_024)
        return (text.split { !"+-.0123456789".contains($0) }.first.flatMap { Double($0) }, ending)
    }

    /// Runs an operation under the timeout.
    private func limited<Value: Sendable>(
        _ operation: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        do {
            return try await withThrowingTaskGroup(of: Value.self) { group in
                group.addTask(operation: operation)
                group.addTask {
                    try await clock.sleep(for: timeout)
                    throw TranscriberError.unreadable(detail: "the recording was not measured after \(timeout)")
                }
                defer { group.cancelAll() }
                guard let value = try await group.next() else { throw CancellationError() }
                return value
            }
        } catch let error as SubprocessError {
            try Task.checkCancellation()
            throw TranscriberError.unreadable(detail: "ffprobe or ffmpeg: \(error)")
        } catch is ToolCommand.OutputTooLong {
            throw TranscriberError.unreadable(detail: "ffprobe or ffmpeg printed too much")
        }
    }
}
