public import Cage
import FoundationEssentials

/// What a stage may use, see and change on this host.
public struct StageCage: Sendable {
    /// The cage of every stage.
    public var cage = Cage()
    /// Files and folders that no stage sees: recordings, the files of other stages, and files with secrets.
    public var hidden: [String] = []
    /// Folders that a site's own stage may write to, beside its own (`PIPELINE_STAGE_WRITES`).
    public var writable: [String] = []
    /// False if a site's own stage reaches no network (`PIPELINE_STAGE_NETWORK`).
    public var hasNetwork = true
    /// The address space of each process of a site's own stage in bytes, or nil (`PIPELINE_STAGE_MEMORY`).
    public var memory: Int?
    /// Variables of the server that a site's own stage gets (`PIPELINE_STAGE_ENV`).
    public var variables = SecretVariables()
    /// The number of processors that a stage can keep busy.
    ///
    /// Default: those of this process.
    var processors = ProcessInfo.processInfo.activeProcessorCount

    /// A cage without hidden files, in which a site's own stage has no limit of memory.
    public init() {}

    /// The Unix user of stages, or nil for the user of this process.
    var account: CageAccount? { cage.account }

    /// The processor time that a stage can use within its time: all processors, all the time.
    private func processorTime(within timeout: Duration?) -> Duration? { timeout.map { $0 * processors } }

    /// Puts a command into the cage.
    ///
    /// - Parameters:
    ///   - command: The command of the stage.
    ///   - recording: The path of the recording, which becomes the last argument.
    ///   - directory: The stage's own directory.
    /// - Returns: The command to launch.
    func enclose(_ command: StageCommand, recording: String, directory: String) -> CagedCommand {
        let time = processorTime(within: command.timeout)
        let program = command.programs[command.words.program] ?? command.words.program
        var environment = StageEnvironment.scrubbed(adding: [:], temporaryDirectory: directory)
        if account != nil {
            // The folder of root is not the stage's.
            environment["HOME"] = directory
        }
        var caged: CagedCommand
        if command.isBundled {
            caged = CagedCommand(
                program, command.words.arguments + [recording], budget: .bundled(processorTime: time))
            caged.view = .system(programs: [program] + SpeechPrograms().paths(in: environment["PATH"]))
            caged.directory = directory
            // Each arena of the C library reserves 64 MiB of address space, and there may be eight for each processor.
            environment["MALLOC_ARENA_MAX"] = "2"
        } else {
            caged = CagedCommand(
                program, command.words.arguments + [recording],
                budget: .site(processorTime: time, addressSpace: memory))
            caged.view = .host(hiding: hidden)
            caged.view.writable = writable
            caged.hasNetwork = hasNetwork
            caged.directory = FileManager.default.currentDirectoryPath
            environment.merge(variables.values) { _, new in new }
        }
        environment.merge(command.environment) { _, new in new }
        caged.environment = environment
        caged.view.readable.append(visible(recording, in: command.workDirectory))
        caged.view.writable.append(CageView.resolved(directory))
        caged.grace = command.grace
        return caged
    }

    /// The path that shows a recording: the file alone, or the directory that was made for a copy of it.
    private func visible(_ recording: String, in workDirectory: String) -> String {
        let file = CageView.resolved(recording)
        let folder = URL(filePath: file).deletingLastPathComponent().standardizedFileURL.path(percentEncoded: false)
        let parent = CageView.resolved(workDirectory)
        let path = folder.hasSuffix("/") ? String(folder.dropLast()) : folder
        return path != parent && CageView.lies(path, in: parent) ? path : file
    }
}

extension StageCommand {
    /// True if this program itself is the stage: `therapybridge transcribe` or `therapybridge measure`.
    var isBundled: Bool {
        guard let own = programs["therapybridge"], let subcommand = words.arguments.first else { return false }
        let program = programs[words.program] ?? words.program
        return ["transcribe", "measure"].contains(subcommand) && CageView.resolved(program) == CageView.resolved(own)
    }
}

extension SpeechPrograms {
    /// The paths of the programs and of the model.
    fileprivate func paths(in path: String?) -> [String] {
        [ffmpeg, ffprobe, recogniser].map { Cage.path(of: $0, in: path) } + [model]
    }
}
