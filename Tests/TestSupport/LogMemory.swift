public import Logging
import Synchronization

/// Keeps every log line of a server, with its metadata, at every level.
public final class LogMemory: Sendable {
    private let lines = Mutex<[(level: Logger.Level, text: String)]>([])

    /// Makes an empty memory.
    public init() {}

    /// A logger that writes here.
    public var logger: Logger {
        var logger = Logger(label: "memory") { _ in Handler(memory: self) }
        logger.logLevel = .trace
        return logger
    }

    /// Everything that was logged.
    public var text: String { lines.withLock { $0.map(\.text).joined(separator: "\n") } }

    /// The lines of the level `warning` and above.
    public var warnings: [String] { lines.withLock { $0.filter { $0.level >= .warning }.map(\.text) } }

    private struct Handler: LogHandler {
        let memory: LogMemory
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let all = metadata.merging(event.metadata ?? [:]) { $1 }
            let error = event.error.map { " \($0)" } ?? ""
            memory.lines.withLock { $0.append((event.level, "\(event.level) \(event.message) \(all)\(error)")) }
        }
    }
}

/// A logger that writes nothing.
///
/// A test reports by its expectations.
public let quietLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
