import Cage
import FoundationEssentials
import Glibc
import Subprocess
import SystemPackage

/// One stage of the pipeline: an external command (docs/pipeline.md, "Stages").
///
/// The command gets the path of the recording as its last argument. It prints JSON lines to standard output: progress
/// as `{"progress": 0-100, "message": "…"}`, segments as `{"segment": {…}}`, and `{"result": …}`. Other lines are passed
/// over. It runs without a shell, in a cage of its own (``StageCage``), and in an environment without the server's
/// secrets. When ``run(recording:onUpdate:)`` returns, all processes of the cage are gone, all descriptors are closed,
/// and its temporary directory is removed.
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
    /// How long the command may print nothing, on either output, or nil for no limit.
    ///
    /// A command is ended after this time, or at most a quarter of it later.
    public var stallTimeout: Duration?
    /// How long the command may print nothing before an update says so, or nil for no such update.
    ///
    /// The update comes after this time, or at most a quarter of it later. There is one for each silence, and another one when
    /// the command prints again.
    public var silenceNotice: Duration?
    /// What the result has to be.
    ///
    /// Default: anything.
    public var resultRule = StageResultRule.anything
    /// A transcript as JSON, or nil.
    ///
    /// The command gets it on standard input, and in a file in its own directory. `TB_TRANSCRIPT` has the path. Standard
    /// input is this file, and no pipe: a command that does not read it blocks nobody.
    public var transcript: String?
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
    ///   - onUpdate: Receives the newest progress and all new segments, one call at a time, and never after this method
    ///     returns. While a call is under way, only the newest progress is kept: a slow callback does not slow the
    ///     command. At most 20,000 segments wait. If it throws, the command ends and this method throws the error. It
    ///     must end when its task is cancelled, because this method waits for it.
    /// - Returns: The result of the command.
    /// - Throws: ``StageFailure``; `CancellationError`; the error of `onUpdate`.
    public func run(
        recording: String,
        onUpdate: @escaping @Sendable (StageUpdate) async throws -> Void
    ) async throws -> StageResult {
        try await PrivateDirectory.with(purpose: "stage", in: workDirectory, owner: cage.account) { directory in
            let trace = StageTrace()
            let judgement = StageJudgement(
                setting: setting, title: title, program: words.program, rule: resultRule,
                secrets: SecretValues(cage.variables.values), trace: trace)
            do {
                return try await run(
                    launch(recording: recording, directory: directory), trace, judgement, onUpdate: onUpdate)
            } catch let limit as StageTimeLimit {
                throw judgement.ended(by: limit)
            } catch let fault as CageFault {
                throw judgement.notStarted(fault)
            }
        }
    }

    /// Prepares the launch, and writes the transcript.
    private func launch(recording: String, directory: String) throws -> CageLaunch {
        var command = cage.enclose(self, recording: recording, directory: directory)
        if let transcript {
            let path = "\(directory)/transcript.json"
            try TranscriptFile.write(transcript, to: path, owner: cage.account)
            command.input = path
            command.environment["TB_TRANSCRIPT"] = path
        }
        return try cage.cage.launch(command)
    }

    private func run(
        _ launch: CageLaunch, _ trace: StageTrace, _ judgement: StageJudgement,
        onUpdate: @escaping @Sendable (StageUpdate) async throws -> Void
    ) async throws -> StageResult {
        let (news, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let process = StageProcess(
            launch: launch, account: cage.account, trace: trace, secrets: judgement.secrets)
        let ending: StageProcess.Ending = try await withThrowingTaskGroup(of: StageProcess.Ending?.self) { group in
            group.addTask {
                defer { continuation.finish() }
                do {
                    return try await process.run { continuation.yield() }
                } catch let error as SubprocessError {
                    throw judgement.notStarted(error)
                }
            }
            group.addTask {
                for await _ in news {
                    let update = trace.takeNews()
                    if !update.isEmpty { try await onUpdate(update) }
                }
                return nil
            }
            if let timeout {
                group.addTask {
                    try await clock.sleep(for: timeout)
                    throw StageTimeLimit.timeout(timeout)
                }
            }
            if let stallTimeout {
                group.addTask {
                    _ = try await waitForStall(of: trace, stallTimeout)
                    throw StageTimeLimit.stall(stallTimeout)
                }
            }
            if let silenceNotice {
                group.addTask {
                    try await watchSilence(of: trace, silenceNotice) { continuation.yield() }
                    return nil
                }
            }
            // Two tasks have to end: the command and the last callback. Then the timers are cancelled. If a timer or
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

    /// Notes each silence of the command, until the task is cancelled.
    private func watchSilence(of trace: StageTrace, _ limit: Duration, onNews: () -> Void) async throws {
        while true {
            let seen = try await waitForStall(of: trace, limit)
            guard trace.noteSilence(of: limit, since: seen) else { continue }
            onNews()
            // One notice is enough for one silence.
            while trace.byteCount == seen { try await clock.sleep(for: limit / 4) }
        }
    }

    /// Returns when the command has printed nothing for a whole time limit.
    ///
    /// - Returns: The number of bytes that the command has printed.
    private func waitForStall(of trace: StageTrace, _ limit: Duration) async throws -> Int {
        var (seen, quarters) = (trace.byteCount, 0)
        while quarters < 4 {
            try await clock.sleep(for: limit / 4)
            let printed = trace.byteCount
            quarters = printed == seen ? quarters + 1 : 0
            seen = printed
        }
        return seen
    }
}

/// The file with the transcript for a stage.
private enum TranscriptFile {
    /// Writes a new file that only its owner may read: the Unix user of the stage, or the one of this process.
    static func write(_ text: String, to path: String, owner: CageAccount?) throws {
        let file = try FileDescriptor.open(
            FilePath(path), .writeOnly, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec],
            permissions: .ownerReadWrite)
        try file.closeAfter {
            try file.writeAll(text.utf8)
            if let owner, fchown(file.rawValue, owner.user, owner.group) != 0 { throw Errno(rawValue: errno) }
        }
    }
}
