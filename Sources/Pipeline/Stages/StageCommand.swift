import Cage
import Foundation
import Subprocess

/// One stage of the pipeline: an external command (docs/pipeline.md, "Stages").
///
/// The command gets the path of the recording as its last argument. It prints JSON lines to standard output: progress
/// as `{"progress": 0-100, "message": "…"}`, and `{"result": …}` as the last line. It runs without a shell, without
/// standard input, in a cage of its own (``StageCage``), and in an environment without the server's secrets. When
/// ``run(recording:onProgress:)`` returns, all processes of the cage are gone, all descriptors are closed, and its
/// temporary directory is removed.
public struct StageCommand: Sendable {
    /// The environment variable with the command, for messages to the operator.
    public let setting: String
    /// The name of the stage in messages to users, such as "transcription" or "notes".
    public let title: String
    /// The words of the command.
    ///
    /// The path of the recording is added for each run.
    public let words: CommandWords
    /// Environment variables for the command, beside `PATH`, `HOME`, `LANG` and `TMPDIR`.
    public var environment: [String: String] = [:]
    /// The longest duration of a run, or nil for no limit.
    ///
    /// Default: 12 hours.
    public var timeout: Duration? = .seconds(12 * 3_600)
    /// How long the command may run after SIGTERM, before SIGKILL.
    ///
    /// Default: 5 s.
    public var grace: Duration = .seconds(5)
    /// Paths of programs that need not be in `PATH`, by the name in the setting.
    ///
    /// The server enters itself as `therapybridge`. The default command then works wherever the binary is.
    public var programs: [String: String] = [:]
    /// The clock that measures ``timeout``.
    public var clock: any Clock<Duration> = ContinuousClock()
    /// What the command may use, see and change.
    public var cage = StageCage()
    /// The folder of the command's temporary directory.
    public var workDirectory = FileManager.default.temporaryDirectory.path

    /// Reads a command from a setting.
    ///
    /// - Parameters:
    ///   - commandLine: The words of the command, quoted as in a shell (see ``CommandWords``).
    ///   - setting: The name of the setting.
    ///   - title: The name of the stage in messages, in lower case.
    /// - Throws: `CommandWords.ParseError` when the text cannot be split.
    public init(_ commandLine: String, setting: String, title: String) throws(CommandWords.ParseError) {
        self.words = try CommandWords(commandLine)
        self.setting = setting
        self.title = title
    }

    /// Runs the command on a recording, and waits until all its processes are gone.
    ///
    /// When the task is cancelled, the processes of the command get SIGTERM, and SIGKILL after ``grace``.
    ///
    /// - Parameters:
    ///   - recording: The absolute path of the recording.
    ///   - onProgress: Receives the newest progress, one call at a time, and never after this method returns. While a
    ///     call is under way, only the newest progress is kept: a slow callback costs no memory and does not slow the
    ///     command. If it throws, the command ends and this method throws the error. It must end when its task is
    ///     cancelled, because this method waits for it.
    /// - Returns: The result of the command.
    /// - Throws: ``StageFailure``; `CancellationError`; the error of `onProgress`.
    public func run(
        recording: String,
        onProgress: @escaping @Sendable (StageProgress) async throws -> Void
    ) async throws -> StageResult {
        try await PrivateDirectory.with(purpose: "stage", in: workDirectory, owner: cage.account) { directory in
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
            launch: try cage.cage.launch(cage.enclose(self, recording: recording, directory: temporaryDirectory)),
            grace: grace, account: cage.account
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
            // Two tasks have to end: the command and the last callback. Then the timer is cancelled. If the timer or
            // the callback throws first, the group cancels the command and waits until it is gone.
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
}
