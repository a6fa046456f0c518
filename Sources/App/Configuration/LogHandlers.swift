import Domain
import FoundationEssentials
import Glibc
import Logging
import Synchronization

/// Sends the log of the whole process to standard error, one line a message.
///
/// Standard output carries only results.
public enum LogOutput {
    /// The lowest level that is logged, as the place of the level in the order of all.
    private static let threshold = Atomic(place(of: .info))

    private static func place(of level: Logger.Level) -> Int { Logger.Level.allCases.firstIndex(of: level) ?? 0 }

    /// The lowest level that is logged.
    static var level: Logger.Level { Logger.Level.allCases[threshold.load(ordering: .relaxed)] }

    /// Sets up logging.
    ///
    /// Call it once in a process.
    public static func bootstrap(_ settings: LogSettings) {
        setLevel(settings.level)
        LogWriter.shared.noteDropped { count in
            let message = "lines of the log were dropped, because its reader is too slow"
            let event = LogEvent(
                level: .warning, message: "\(message)", metadata: ["count": "\(count)"], source: "App", file: "",
                function: "", line: 0)
            return settings.isJSON
                ? JSONLogHandler(label: "therapybridge").line(event)
                : TextLogHandler(label: "therapybridge").line(event, at: Glibc.time(nil))
        }
        LoggingSystem.bootstrap { label -> any LogHandler in
            if settings.isJSON { JSONLogHandler(label: label) } else { TextLogHandler(label: label) }
        }
        atexit { LogWriter.shared.flush() }
    }

    /// Changes the lowest level that is logged, at once and for the whole process.
    static func setLevel(_ level: Logger.Level) { threshold.store(place(of: level), ordering: .relaxed) }

    /// Writes the last line of a command after all lines of the log.
    ///
    /// - Parameter line: The line without its end.
    public static func writeLast(_ line: String) {
        LogWriter.shared.write(Array((line + "\n").utf8))
        LogWriter.shared.flush()
    }
}

/// Writes each message as one JSON object: `time`, `level`, `label`, `message` and the metadata.
struct JSONLogHandler: LogHandler {
    let label: String
    /// A level of this logger alone.
    private var ownLevel: Logger.Level?
    var logLevel: Logger.Level {
        get { ownLevel ?? LogOutput.level }
        set { ownLevel = newValue }
    }
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?

    init(label: String) { self.label = label }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { LogWriter.shared.write(line(event)) }

    /// The line of a message, with its end.
    func line(_ event: LogEvent) -> [UInt8] {
        let all =
            metadata
            .merging(metadataProvider?.get() ?? [:]) { _, new in new }
            .merging(event.metadata ?? [:]) { _, new in new }
        var object = all.mapValues { "\($0)" }
        object["time"] = Timestamp.now().description
        object["level"] = event.level.rawValue
        object["label"] = label
        object["message"] = "\(event.message)"
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let line = try? encoder.encode(object) else { return [] }
        return line + Array("\n".utf8)
    }
}
