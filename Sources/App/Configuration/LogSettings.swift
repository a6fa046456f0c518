import FoundationEssentials
public import Logging
public import SettingsReading
import TextForms

/// What the program logs, and in which format.
public struct LogSettings: Sendable {
    /// The lowest level that is logged.
    public let level: Logger.Level
    /// True if a line is a JSON object, false if it is text.
    public let isJSON: Bool

    /// The file with the level (`LOG_LEVEL_FILE`), or nil if the level is fixed.
    let file: String?

    private static let fileName = "LOG_LEVEL_FILE"
    private static let levels: KeyValuePairs<String, Logger.Level> = [
        "trace": .trace, "debug": .debug, "info": .info, "notice": .notice, "warning": .warning,
        "error": .error, "critical": .critical,
    ]

    /// Reads the level from a file.
    ///
    /// - Throws: ``SettingError`` if the file cannot be read, or does not have the name of a level.
    static func level(in file: String) throws(SettingError) -> Logger.Level {
        guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
            throw SettingError(fileName, "cannot be read; name a file with the name of a level, such as info")
        }
        let word = text.trimmedOfLines
        guard let match = levels.first(where: { $0.key == word }) else {
            throw SettingError(fileName, "has to name a file with one of \(levels.map(\.key).joined(separator: ", "))")
        }
        return match.value
    }

    /// Reads the group.
    ///
    /// - Throws: ``SettingError`` for the first setting that is bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group(Settings.operation)
        let level = try reader.choice(
            "LOG_LEVEL", Self.levels, default: "info", "The least important messages that are logged.")
        file = reader.text(
            Self.fileName, form: "a file",
            "A file with the level, which wins over `LOG_LEVEL`. SIGHUP reads it again.")
        self.level = if let file { try Self.level(in: file) } else { level }
        isJSON = try reader.choice(
            "LOG_FORMAT", ["text": false, "json": true], default: "text", "`json` for one JSON object a line.")
    }
}
