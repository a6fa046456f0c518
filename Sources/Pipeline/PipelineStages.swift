import Cage
import FoundationEssentials
import Glibc
public import SettingsReading

/// The external commands of the pipeline.
public struct PipelineStages: Sendable {
    /// How long a stage may run after SIGTERM, before SIGKILL.
    ///
    /// A cancelled or deleted session ends its stage within a second.
    private static let grace = Duration.milliseconds(500)

    /// Measures the recording: `therapybridge measure`.
    public var measure: StageCommand
    /// Writes the transcript (`PIPELINE_TRANSCRIBE_COMMAND`).
    public var transcribe: StageCommand
    /// Writes the notes (`PIPELINE_NOTES_COMMAND`), or nil if the site has no such command.
    public var notes: StageCommand?
    /// The folder of temporary files, which holds a decrypted recording while a stage reads it (`PIPELINE_WORK_DIR`).
    public let workDirectory: String
    /// The limits of the worker and of its stages.
    public let limits: PipelineLimits

    /// Makes the stages of a site.
    ///
    /// - Parameters:
    ///   - measure: Measures the recording.
    ///   - transcribe: Writes the transcript.
    ///   - notes: Writes the notes, or nil for none.
    ///   - program: The path of this program. The name `therapybridge` in a command stands for it, wherever it lies.
    ///   - limits: The limits of the worker and of its stages.
    ///   - workDirectory: The folder of decrypted recordings and of the commands' temporary files.
    public init(
        measure: StageCommand, transcribe: StageCommand, notes: StageCommand?, program: String, limits: PipelineLimits,
        workDirectory: String
    ) {
        self.measure = measure
        self.transcribe = transcribe
        self.notes = notes
        self.limits = limits
        self.workDirectory = workDirectory
        changeEach {
            $0.programs["therapybridge"] = program
            $0.workDirectory = workDirectory
            $0.grace = Self.grace
        }
    }

    /// Puts all stages into cages.
    ///
    /// - Parameter cage: What the stages may use, see and change.
    public mutating func enclose(in cage: StageCage) {
        changeEach { $0.cage = cage }
    }

    /// The Unix user of the stages, or nil for the user of this process.
    var account: CageAccount? { transcribe.cage.account }

    /// Changes all commands.
    mutating func changeEach(_ change: (inout StageCommand) -> Void) {
        change(&measure)
        change(&transcribe)
        if var command = notes {
            change(&command)
            notes = command
        }
    }
}

extension PipelineStages {
    /// Reads the commands, and makes the folder for temporary files.
    ///
    /// - Parameters:
    ///   - settings: The settings of the pipeline.
    ///   - program: The path of this program, which the bundled stages run.
    /// - Throws: ``SettingError`` for a command that cannot be read, or a folder that can be neither made nor used.
    public init(_ settings: PipelineSettings, program: String) throws(SettingError) {
        let transcribe = try StageCommand(
            settings.transcribeCommand, of: PipelineSettings.transcribeName, "transcription")
        var notes: StageCommand?
        if let command = settings.notesCommand {
            notes = try StageCommand(command, of: PipelineSettings.notesName, "notes")
        }
        self.init(
            measure: try StageCommand("therapybridge measure", of: "measure", "measurement"), transcribe: transcribe,
            notes: notes, program: program, limits: settings.limits,
            workDirectory: try settings.preparedWorkDirectory())
    }
}

extension PipelineSettings {
    /// Makes the work folder if it is missing, and checks it.
    func preparedWorkDirectory() throws(SettingError) -> String {
        let workDirectory = workDirectory ?? Self.ownFolder
        do {
            try FileManager.default.createDirectory(
                atPath: workDirectory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw SettingError(
                Self.workDirectoryName, "cannot be made; name a folder that this account may write to")
        }
        guard FileManager.default.isWritableFile(atPath: workDirectory) else {
            throw SettingError(
                Self.workDirectoryName, "cannot be used; name a folder that this account may write to")
        }
        // A stage may run in another working directory. It therefore needs an absolute path.
        let path = URL(filePath: workDirectory).standardizedFileURL.path(percentEncoded: false)
        try Self.admitStages(to: path)
        return path
    }

    /// The default folder.
    private static var ownFolder: String {
        FileManager.default.temporaryDirectory.appending(path: "therapybridge-work-\(geteuid())").path(
            percentEncoded: false)
    }

    /// Refuses a folder in which others could replace a directory.
    ///
    /// As root, lets the account of the stages pass through the folder.
    private static func admitStages(to path: String) throws(SettingError) {
        var status = stat()
        guard stat(path, &status) == 0, case let mode = status.st_mode & 0o7777,
            status.st_uid == geteuid() || geteuid() == 0,
            // In a folder with the sticky bit, only its owner replaces a directory.
            mode & 0o022 == 0 || mode & 0o1000 != 0
        else {
            throw SettingError(workDirectoryName, "is a folder that others may change; name one of this account alone")
        }
        if geteuid() == 0, mode & 0o011 != 0o011 { chmod(path, mode | 0o011) }
    }
}

extension StageCommand {
    /// Reads the command of one setting.
    fileprivate init(_ command: String, of setting: String, _ title: String) throws(SettingError) {
        do {
            try self.init(command, setting: setting, title: title)
        } catch {
            throw SettingError(setting, "cannot be read as a command: \(error)")
        }
    }
}
