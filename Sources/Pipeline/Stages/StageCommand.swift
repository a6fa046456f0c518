import Foundation
import Subprocess
import SystemPackage

/// One stage of the pipeline: an external command (docs/pipeline.md, "Stages").
///
/// The command gets the recording's path as its last argument. On standard output it prints JSON lines: progress as
/// `{"progress": 0-100, "message": "…"}`, and `{"result": …}` as the last. It runs without a shell, in a session and process group of
/// its own, with no standard input, and with an environment that carries none of the server's secrets. Nothing of it outlives
/// ``run(recording:onProgress:)``: not a process of its group, not a descriptor, not a file in its temporary directory.
public struct StageCommand: Sendable {
    /// The environment variable that named the command, for messages to the operator.
    public let setting: String
    /// What the people who watch call the stage: "transcription", "notes".
    public let title: String
    /// The command's words; the recording's path is added when it runs.
    public let words: CommandWords
    /// What the command gets beside `PATH`, `HOME`, `LANG` and `TMPDIR`.
    public var environment: [String: String] = [:]
    /// How long the command may take in all; nil for as long as it likes.
    ///
    /// Default: 12 hours.
    public var timeout: Duration? = .seconds(12 * 3_600)
    /// How long the command may take to end by itself after SIGTERM, before SIGKILL.
    ///
    /// Default: 5 s.
    public var grace: Duration = .seconds(5)
    /// Paths of programs that need not be in `PATH`: the name in the setting, and what runs in its place.
    ///
    /// The server puts itself there as `therapybridge`, so that the default command works wherever the binary lies.
    public var programs: [String: String] = [:]
    /// The clock by which ``timeout`` is counted.
    public var clock: any Clock<Duration> = ContinuousClock()
    /// Where the command's own temporary directory is made.
    public var workDirectory = FileManager.default.temporaryDirectory.path

    /// Reads a command from a setting.
    ///
    /// - Parameters:
    ///   - commandLine: the words of the command, quoted as in a shell (see ``CommandWords``).
    ///   - setting: the name of the setting.
    ///   - title: what the stage is called in messages, in lower case.
    /// - Throws: `CommandWords.ParseError` when the text cannot be split.
    public init(_ commandLine: String, setting: String, title: String) throws(CommandWords.ParseError) {
        self.words = try CommandWords(commandLine)
        self.setting = setting
        self.title = title
    }

    /// Runs the command on a recording, and waits until it and all it started are gone.
    ///
    /// Cancelling the task ends the command: SIGTERM to its group, after ``grace`` SIGKILL.
    ///
    /// - Parameters:
    ///   - recording: the recording's absolute path.
    ///   - onProgress: called with the newest progress, one call at a time and never after this returns. While it works, further
    ///     progress of the command is read and only the newest of it is kept, so a slow callback costs neither memory nor the
    ///     command's time. When it throws, the command is ended and the error comes out of this method. It has to end when its
    ///     task is cancelled, or this method waits for it.
    /// - Returns: the command's result.
    /// - Throws: ``StageFailure``; `CancellationError`; what `onProgress` throws.
    public func run(
        recording: String,
        onProgress: @escaping @Sendable (StageProgress) async throws -> Void
    ) async throws -> StageResult {
        try await PrivateDirectory.with(purpose: "stage", in: workDirectory) { directory in
            try await run(recording: recording, temporaryDirectory: directory, onProgress: onProgress)
        }
    }

    private var judgement: StageJudgement {
        StageJudgement(setting: setting, title: title, program: words.program)
    }

    private func run(
        recording: String,
        temporaryDirectory: String,
        onProgress: @escaping @Sendable (StageProgress) async throws -> Void
    ) async throws -> StageResult {
        let (progress, continuation) = AsyncStream.makeStream(
            of: StageProgress.self, bufferingPolicy: .bufferingNewest(1)
        )
        let process = StageProcess(
            configuration: configuration(recording: recording, temporaryDirectory: temporaryDirectory),
            grace: grace
        )
        let ending: StageProcess.Ending = try await withThrowingTaskGroup(of: StageProcess.Ending?.self) { group in
            group.addTask {
                defer { continuation.finish() }
                do {
                    return try await process.run { continuation.yield($0) }
                } catch let error as SubprocessError {
                    throw judgement.notStarted(error)
                }
            }
            group.addTask {
                for await newest in progress { try await onProgress(newest) }
                return nil
            }
            if let timeout {
                group.addTask {
                    try await clock.sleep(for: timeout)
                    throw judgement.timedOut(after: timeout)
                }
            }
            // The command and the last callback: with both, all is said. The timer is cancelled then; if it or the callback
            // throws first, leaving the group cancels the command and waits until it is gone.
            defer { group.cancelAll() }
            var ending: StageProcess.Ending?
            for _ in 0..<2 {
                if let ended = try await group.next() ?? nil { ending = ended }
            }
            try Task.checkCancellation()
            guard let ending else { throw CancellationError() }
            return ending
        }
        return try judgement.judge(ending)
    }

    private func configuration(recording: String, temporaryDirectory: String) -> Configuration {
        let program = programs[words.program] ?? words.program
        var options = PlatformOptions()
        // A session of its own is a process group of its own: signals reach all that the command started, and a terminal's
        // Ctrl-C reaches only the server, which then ends the command in order.
        options.createSession = true
        options.teardownSequence = [.gracefulShutDown(toProcessGroup: true, allowedDurationToNextStep: grace)]
        return Configuration(
            executable: .program(program),
            arguments: Arguments(Array(words.arguments) + [recording]),
            environment: .scrubbed(adding: environment, temporaryDirectory: temporaryDirectory),
            platformOptions: options
        )
    }
}
