import Foundation
public import SettingsReading

/// What the pipeline's worker runs, and where.
///
/// A process without a worker reads the settings and does not look at what they name.
public struct PipelineSettings: Sendable {
    fileprivate static let transcribeName = "PIPELINE_TRANSCRIBE_COMMAND"
    fileprivate static let notesName = "PIPELINE_NOTES_COMMAND"
    fileprivate static let workDirectoryName = "PIPELINE_WORK_DIR"

    /// The command that makes a transcript.
    fileprivate let transcribeCommand: String
    /// The command that makes notes; nil where a site has none.
    fileprivate let notesCommand: String?
    /// Where temporary files lie; nil for the system's temporary folder.
    fileprivate let workDirectory: String?

    /// Reads the group.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group("Pipeline")
        transcribeCommand = reader.text(
            Self.transcribeName, form: "a command", default: "therapybridge transcribe",
            "Makes a transcript; see [operations](operations.md).")
        notesCommand = reader.text(
            Self.notesName, form: "a command", "Makes notes. Without it a session is done when it is transcribed.")
        workDirectory = reader.text(
            Self.workDirectoryName, form: "a folder", absent: "the system's temporary folder",
            "Where stages have their temporary files, and encrypted recordings lie in the clear while a stage reads them."
        )
    }
}

extension PipelineStages {
    /// Reads the commands, and makes the folder for temporary files.
    ///
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
        // A command may have another working directory.
        return URL(filePath: workDirectory).standardizedFileURL.path(percentEncoded: false)
    }
}

extension StageCommand {
    /// Reads the command of a setting.
    fileprivate init(_ command: String, of setting: String, _ title: String) throws(SettingError) {
        do {
            try self.init(command, setting: setting, title: title)
        } catch {
            throw SettingError(setting, "cannot be read as a command: \(error)")
        }
        // The default names this program, wherever it lies.
        programs["therapybridge"] = Bundle.main.executablePath ?? CommandLine.arguments[0]
    }
}
