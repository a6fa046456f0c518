import Foundation
public import SettingsReading

/// The commands that the pipeline's worker runs, and the folder for their temporary files.
///
/// A process without a worker reads these settings, but checks neither commands nor folder.
public struct PipelineSettings: Sendable {
    fileprivate static let transcribeName = "PIPELINE_TRANSCRIBE_COMMAND"
    fileprivate static let notesName = "PIPELINE_NOTES_COMMAND"
    fileprivate static let workDirectoryName = "PIPELINE_WORK_DIR"

    /// The command that writes a transcript.
    fileprivate let transcribeCommand: String
    /// The command that writes notes, or nil if the site has none.
    fileprivate let notesCommand: String?
    /// The folder for temporary files, or nil for the system's temporary folder.
    fileprivate let workDirectory: String?

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
            Self.workDirectoryName, form: "a folder", absent: "the system's temporary folder",
            "The folder for temporary files of stages. It holds decrypted recordings while a stage reads them."
        )
    }
}

extension PipelineStages {
    /// Reads the commands, and makes the folder for temporary files.
    ///
    /// - Parameter settings: The settings of the pipeline.
    /// - Throws: ``SettingError`` for a command that cannot be read, or a folder that can be neither made nor used.
    public init(_ settings: PipelineSettings) throws(SettingError) {
        let transcribe = try StageCommand(
            settings.transcribeCommand, of: PipelineSettings.transcribeName, "transcription")
        var notes: StageCommand?
        if let command = settings.notesCommand {
            notes = try StageCommand(command, of: PipelineSettings.notesName, "notes")
        }
        self.init(transcribe: transcribe, notes: notes, workDirectory: try settings.preparedWorkDirectory())
    }
}

extension PipelineSettings {
    fileprivate func preparedWorkDirectory() throws(SettingError) -> String {
        guard let workDirectory else { return FileManager.default.temporaryDirectory.path }
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
        return URL(filePath: workDirectory).standardizedFileURL.path(percentEncoded: false)
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
        // The default command names this program. Its file may lie anywhere.
        programs["therapybridge"] = Bundle.main.executablePath ?? CommandLine.arguments[0]
    }
}
