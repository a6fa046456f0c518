import AsyncAlgorithms
import Foundation
import Synchronization

/// The bundled transcriber: ffmpeg decodes, pocketsphinx recognises English speech, and nothing leaves the machine.
///
/// Three kinds of work run at once, joined by a channel without a buffer, so that none runs ahead of the slowest: the decoder cuts
/// audio into stretches of speech, each recogniser takes one stretch after another, the reporter tells how far they are. Memory
/// does not grow with the length of the recording but by its transcript.
public struct Transcriber: Sendable {
    /// The programs in use.
    public var programs = SpeechPrograms()
    /// How many stretches are recognised at once, each by a process that keeps one core busy.
    ///
    /// The default leaves one core to the server beside it.
    public var parallelism = min(max(ProcessInfo.processInfo.activeProcessorCount - 1, 1), 4)
    /// How often progress is told at least.
    ///
    /// Default: 1 s.
    public var reportInterval: Duration = .seconds(1)
    /// Where the directory for the stretches of audio is made; by default `TMPDIR`, or `/tmp`.
    ///
    /// It holds a minute of audio at most, and only this user may enter it.
    public var temporaryDirectory = FileManager.default.temporaryDirectory.path

    /// The clock by which progress is told.
    public var clock: any Clock<Duration> = ContinuousClock()

    /// A transcriber with the defaults.
    public init() {}

    /// Transcribes a recording.
    ///
    /// Cancelling the task ends the processes and removes the temporary files. The process must ignore SIGPIPE, as
    /// ``TranscribeCommand`` and every server do: a recogniser that dies is then an error of this method.
    ///
    /// - Parameters:
    ///   - file: the recording's path, in any format that ffmpeg reads.
    ///   - onProgress: called with each advance and at least every ``reportInterval``, one call at a time; `progress` never falls.
    /// - Returns: the transcript, with at least one segment.
    /// - Throws: ``TranscriberError``; `CancellationError`; what `onProgress` throws.
    public func transcribe(
        file: String,
        onProgress: @escaping @Sendable (StageProgress) async throws -> Void
    ) async throws -> Transcript {
        try programs.check()
        let duration = try await AudioProbe(programs: programs, clock: clock).duration(of: file)
        return try await PrivateDirectory.with(purpose: "transcribe", in: temporaryDirectory) {
            directory in
            let work = TranscriptionWork(
                file: file, programs: programs, directory: directory, state: TranscriptionState(duration: duration)
            )
            return try await withThrowingTaskGroup(of: Transcript?.self) { group in
                group.addTask { try await work.run(parallelism: parallelism) }
                group.addTask {
                    try await work.report(every: reportInterval, by: clock, to: onProgress)
                    return nil
                }
                // The reporter never ends by itself, so whatever comes first is the transcript or an error.
                defer { group.cancelAll() }
                while let ended = try await group.next() {
                    if let ended { return ended }
                }
                throw CancellationError()
            }
        }
    }
}

/// One transcription at work.
private final class TranscriptionWork: Sendable {
    private let file: String
    private let programs: SpeechPrograms
    private let directory: String
    private let state: Mutex<TranscriptionState>
    private let jobs = AsyncChannel<RecognitionJob>()
    private let advances: AsyncStream<Void>
    private let advance: AsyncStream<Void>.Continuation

    init(file: String, programs: SpeechPrograms, directory: String, state: TranscriptionState) {
        self.file = file
        self.programs = programs
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
        guard let transcript = state.withLock({ $0.transcript(durationSeconds: seconds) }) else {
            throw TranscriberError.noSpeech
        }
        return transcript
    }

    private func decode() async throws -> Int {
        defer { jobs.finish() }
        var segmenter = SpeechSegmenter()
        var decoded = 0
        let total = try await AudioDecoder(programs: programs).decode(file) { bytes in
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
        try await Recogniser(programs: programs, directory: directory).recognise(jobs) { job, segment in
            try FileManager.default.removeItem(atPath: path(of: job))
            state.withLock { $0.finish(job.number, segment: segment) }
            advance.yield()
        }
    }

    private func path(of job: RecognitionJob) -> String { "\(directory)/\(job.name).raw" }

    /// Tells the progress at every advance and at every tick, until it is cancelled.
    func report(
        every interval: Duration,
        by clock: any Clock<Duration>,
        to onProgress: @escaping @Sendable (StageProgress) async throws -> Void
    ) async throws {
        try await tell(every: interval, by: clock, to: onProgress)
    }

    private func tell(
        every interval: Duration,
        by clock: some Clock<Duration>,
        to onProgress: @escaping @Sendable (StageProgress) async throws -> Void
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
                    let elapsed = begin.duration(to: clock.now) / .seconds(1)
                    try await onProgress(self.state.withLock { $0.progress(elapsed: elapsed) })
                }
            }
            // Not `waitForAll`, which would wait for the ticker before it throws what the callback threw.
            for try await _ in group {}
        }
    }
}
