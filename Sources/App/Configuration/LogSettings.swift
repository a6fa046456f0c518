public import Logging
public import SettingsReading

/// What the program logs, and in which format.
public struct LogSettings: Sendable {
    /// The lowest level that is logged.
    public let level: Logger.Level
    /// True if a line is a JSON object, false if it is text.
    public let isJSON: Bool

    /// Reads the group.
    ///
    /// - Throws: ``SettingError`` for the first setting that is bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group(Settings.operation)
        level = try reader.choice(
            "LOG_LEVEL",
            [
                "trace": .trace, "debug": .debug, "info": .info, "notice": .notice, "warning": .warning,
                "error": .error, "critical": .critical,
            ], default: "info", "The least important messages that are logged.")
        isJSON = try reader.choice(
            "LOG_FORMAT", ["text": false, "json": true], default: "text", "`json` for one JSON object a line.")
    }
}
