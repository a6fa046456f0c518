import Foundation
public import SettingsReading

/// The commands that the pipeline's worker runs, and the folder for their temporary files.
///
/// A process without a worker reads these settings, but checks neither commands nor folder.
public struct PipelineSettings: Sendable {
    fileprivate static let transcribeName = "PIPELINE_TRANSCRIBE_COMMAND"
    fileprivate static let notesName = "PIPELINE_NOTES_COMMAND"
    fileprivate static let workDirectoryName = "PIPELINE_WORK_DIR"
    /// The default of `PIPELINE_MAX_DURATION`, in seconds.
    public static let defaultMaxDuration = 14_400.0

    /// The command that writes a transcript.
    fileprivate let transcribeCommand: String
    /// The command that writes notes, or nil if the site has none.
    fileprivate let notesCommand: String?
    /// The folder of the stages' own directories, or nil for the default.
    fileprivate let workDirectory: String?
    /// The longest recording.
    fileprivate let maxDuration: Duration

    /// Reads the group.
    ///
    /// - Throws: ``SettingError`` for the first setting that is bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group("Pipeline")
        transcribeCommand = reader.text(
            Self.transcribeName, form: "a command", default: "therapybridge transcribe",
            "Writes the transcript; see [operations](operations.md).")
        notesCommand = reader.text(
            Self.notesName, form: "a command", "Writes the notes. Without it, a transcribed session is processed.")
        workDirectory = reader.text(
            Self.workDirectoryName, form: "a folder", absent: "a folder of its own in the system's temporary folder",
            "The folder of the stages' own directories. It holds decrypted recordings while a stage reads them."
        )
        maxDuration = try reader.seconds(
            "PIPELINE_MAX_DURATION", in: 1...1_000_000, default: Self.defaultMaxDuration,
            "The longest recording, in seconds of audio. The session of a longer one fails, and says so.")
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
            notes: notes, program: program, longest: settings.maxDuration,
            workDirectory: try settings.preparedWorkDirectory())
    }
}

extension PipelineSettings {
    fileprivate func preparedWorkDirectory() throws(SettingError) -> String {
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
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        guard let mode = (attributes?[.posixPermissions] as? NSNumber)?.uint16Value,
            let owner = (attributes?[.ownerAccountID] as? NSNumber)?.uint32Value, owner == geteuid() || geteuid() == 0,
            // In a folder with the sticky bit, only its owner replaces a directory.
            mode & 0o022 == 0 || mode & 0o1000 != 0
        else {
            throw SettingError(workDirectoryName, "is a folder that others may change; name one of this account alone")
        }
        if geteuid() == 0, mode & 0o011 != 0o011 { chmod(path, mode_t(mode) | 0o011) }
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
