import Domain
import Foundation
import Logging

/// Sends the log of the whole process to standard error, one line a message.
///
/// Standard output carries only results.
public enum LogOutput {
    /// Sets up logging.
    ///
    /// Call it once in a process.
    public static func bootstrap(_ settings: LogSettings) {
        LoggingSystem.bootstrap { label in
            var handler: any LogHandler =
                settings.isJSON ? JSONLogHandler(label: label) : TextLogHandler(label: label)
            handler.logLevel = settings.level
            return handler
        }
    }
}

/// Writes each message as one JSON object: `time`, `level`, `label`, `message` and the metadata.
struct JSONLogHandler: LogHandler {
    let label: String
    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?

    init(label: String) { self.label = label }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let all =
            metadata
            .merging(metadataProvider?.get() ?? [:]) { _, new in new }
            .merging(event.metadata ?? [:]) { _, new in new }
        var object = all.mapValues { "\($0)" }
        object["time"] = Timestamp.now().description
        object["level"] = event.level.rawValue
        object["label"] = label
        object["message"] = "\(event.message)"
        guard
            let line = try? JSONSerialization.data(
                withJSONObject: object, options: [.sortedKeys, .withoutEscapingSlashes])
        else { return }
        // If the disk is full or the reader is gone, the line is lost and the service goes on.
        try? FileHandle.standardError.write(contentsOf: line + Data("\n".utf8))
    }
}
