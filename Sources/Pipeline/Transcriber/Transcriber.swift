import AsyncAlgorithms
import FoundationEssentials
import Synchronization

/// The bundled transcriber: ffmpeg decodes, pocketsphinx recognises English speech, and no data leaves the machine.
///
/// Three kinds of tasks run at once. The decoder cuts audio into stretches of speech, each recogniser takes one stretch
/// after another, and the reporter reports progress. A channel without a buffer joins them. Therefore no task runs
/// ahead of the slowest. Memory grows with the transcript, but not with the recording.
public struct Transcriber: Sendable {
    /// The programs and the model.
    public var programs = SpeechPrograms()
    /// The number of recogniser processes.
    ///
    /// Each keeps one core busy.
    ///
    /// The default leaves one core to the server.
    public var parallelism = Transcriber.parallelism(on: ProcessInfo.processInfo.activeProcessorCount)
    /// The longest time between two progress reports.
    ///
    /// Default: 1 s.
    public var reportInterval: Duration = .seconds(1)
    /// The folder of the temporary directory with the stretches of audio.
    ///
    /// The default is `TMPDIR`, or `/tmp`.
    ///
    /// The directory holds at most a minute of audio, and only this user may enter it.
    public var temporaryDirectory = FileManager.default.temporaryDirectory.path
    /// The longest recording in seconds.
    ///
    /// Default: the one of `PIPELINE_MAX_DURATION`.
    public var longest = PipelineSettings.defaultMaxDuration
    /// The length of the recording in seconds, or nil if it was not measured before.
    public var measured: Double?

    /// The clock of the progress reports.
    public var clock: any Clock<Duration> = ContinuousClock()

    /// Makes a transcriber with the defaults.
    public init() {}

    /// The number of recogniser processes on a number of processors: one less, and at most four.
    static func parallelism(on processors: Int) -> Int { min(max(processors - 1, 1), 4) }

    /// Transcribes a recording.
    ///
    /// When the task is cancelled, the processes end and the temporary files are removed. The process must ignore
    /// SIGPIPE, as ``TranscribeCommand`` and every server do. Then this method throws an error when a recogniser dies.
    ///
    /// - Parameters:
    ///   - file: The path of the recording, in any format that ffmpeg reads.
    ///   - onProgress: Receives the progress after each step and at least every ``reportInterval``, one call at a time.
    ///     `progress` never falls.
    ///   - onSegment: Receives each segment of the transcript in order, as soon as it and all before it are there. The
    ///     calls take turns with those of `onProgress`.
    /// - Returns: The transcript, with at least one segment.
    /// - Throws: ``TranscriberError``; `CancellationError`; the error of `onProgress` or `onSegment`.
    public func transcribe(
        file: String,
        onProgress: @escaping @Sendable (StageProgress) async throws -> Void,
        onSegment: @escaping @Sendable (Transcript.Segment) async throws -> Void = { _ in }
    ) async throws -> Transcript {
        try programs.check()
        let probe = AudioProbe(programs: programs, clock: clock)
        return try await PrivateDirectory.with(purpose: "transcribe", in: temporaryDirectory) { directory in
            let input = try AudioInput(file: file, linkedIn: directory)
            let outline = try await probe.outline(of: input)
            let duration: Double
            if let measured { duration = measured } else { duration = try await probe.length(of: input) }
            guard duration <= longest else { throw TranscriberError.tooLong(seconds: longest) }
            let work = TranscriptionWork(
                input: input, outline: outline, decoder: AudioDecoder(programs: programs, longest: longest),
                directory: directory, state: TranscriptionState(duration: duration)
            )
            return try await withThrowingTaskGroup(of: Transcript?.self) { group in
                group.addTask { try await work.run(parallelism: parallelism) }
                group.addTask {
                    try await work.report(every: reportInterval, by: clock, to: onProgress, onSegment)
                    return nil
                }
                // The reporter never ends by itself. The first to end therefore has a transcript or an error.
                defer { group.cancelAll() }
                while let ended = try await group.next() {
                    guard let transcript = ended else { continue }
                    // The last call of the reporter has to be over: the progress reaches the end of the stage.
                    group.cancelAll()
                    while await group.nextResult() != nil {}
                    for segment in work.takeSegments() { try await onSegment(segment) }
                    try await onProgress(work.lastProgress)
                    return transcript
                }
                throw CancellationError()
            }
        }
    }
}

/// One transcription under way.
private final class TranscriptionWork: Sendable {
    private let input: AudioInput
    private let outline: RecordingOutline
    private let decoder: AudioDecoder
    private let directory: String
    private let state: Mutex<TranscriptionState>
    private let jobs = AsyncChannel<RecognitionJob>()
    private let advances: AsyncStream<Void>
    private let advance: AsyncStream<Void>.Continuation

    init(
        input: AudioInput, outline: RecordingOutline, decoder: AudioDecoder, directory: String,
        state: TranscriptionState
    ) {
        self.input = input
        self.outline = outline
        self.decoder = decoder
        self.directory = directory
        self.state = Mutex(state)
        (advances, advance) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Decodes and recognises the whole recording.
    func run(parallelism: Int) async throws -> Transcript {
        let decoded = try await withThrowingTaskGroup(of: Int?.self) { group in
            group.addTask { try await self.decode() }
            for _ in 0..<parallelism {
                group.addTask {
                    try await self.recognise()
                    return nil
                }
            }
            var decoded = 0
            for try await bytes in group { decoded = bytes ?? decoded }
            return decoded
        }
        let seconds = Double(decoded) / Double(AudioDecoder.bytesPerSecond)
        guard var transcript = state.withLock({ $0.transcript(durationSeconds: seconds) }) else {
            throw TranscriberError.noSpeech
        }
        transcript.announcedSeconds = outline.announced.map { ($0 * 100).rounded() / 100 }
        return transcript
    }

    private func decode() async throws -> Int {
        defer { jobs.finish() }
        var segmenter = SpeechSegmenter()
        var decoded = 0
        let total = try await decoder.decode(input, tracks: outline.tracks) { bytes in
            decoded += bytes.count
            let seconds = Double(decoded) / Double(AudioDecoder.bytesPerSecond)
            for stretch in segmenter.consume(bytes) { try await self.hand(over: stretch) }
            self.state.withLock { $0.decode(upTo: seconds) }
        }
        for stretch in segmenter.finish() { try await hand(over: stretch) }
        return total
    }

    private func hand(over stretch: SpeechSegmenter.Stretch) async throws {
        let number = state.withLock { $0.add(startFrame: stretch.start) }
        let job = RecognitionJob(number: number, startFrame: stretch.start, name: "stretch-\(number)")
        try Data(stretch.audio).write(to: URL(filePath: path(of: job)))
        await jobs.send(job)
        try Task.checkCancellation()
    }

    private func recognise() async throws {
        try await Recogniser(programs: decoder.programs, directory: directory).recognise(jobs) { job, segment in
            try FileManager.default.removeItem(atPath: path(of: job))
            state.withLock { $0.finish(job.number, segment: segment) }
            advance.yield()
        }
    }

    /// The segments that nobody has taken yet.
    func takeSegments() -> [Transcript.Segment] { state.withLock { $0.takeSegments() } }

    /// The progress before the result.
    var lastProgress: StageProgress { state.withLock { $0.lastProgress } }

    private func path(of job: RecognitionJob) -> String { "\(directory)/\(job.name).raw" }

    /// Reports the progress and the new segments after each step and each tick, until it is cancelled.
    func report(
        every interval: Duration,
        by clock: any Clock<Duration>,
        to onProgress: @escaping @Sendable (StageProgress) async throws -> Void,
        _ onSegment: @escaping @Sendable (Transcript.Segment) async throws -> Void
    ) async throws {
        try await tell(every: interval, by: clock, to: onProgress, onSegment)
    }

    private func tell(
        every interval: Duration,
        by clock: some Clock<Duration>,
        to onProgress: @escaping @Sendable (StageProgress) async throws -> Void,
        _ onSegment: @escaping @Sendable (Transcript.Segment) async throws -> Void
    ) async throws {
        let begin = clock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                while !Task.isCancelled {
                    try await clock.sleep(for: interval)
                    self.advance.yield()
                }
            }
            group.addTask {
                try await onProgress(self.state.withLock { $0.progress(elapsed: 0) })
                for await _ in self.advances {
                    for segment in self.takeSegments() { try await onSegment(segment) }
                    let elapsed = begin.duration(to: clock.now) / .seconds(1)
                    try await onProgress(self.state.withLock { $0.progress(elapsed: elapsed) })
                }
            }
            // `waitForAll` would wait for the ticker before it throws the error of the callback.
            for try await _ in group {}
        }
    }
}
