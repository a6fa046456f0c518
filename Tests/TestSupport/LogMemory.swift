public import Logging
import Synchronization

/// Keeps every log line of a server, with its metadata, at every level.
public final class LogMemory: Sendable {
    private let lines = Mutex<[String]>([])

    public init() {}

    /// A logger that writes here.
    public var logger: Logger {
        var logger = Logger(label: "memory") { _ in Handler(memory: self) }
        logger.logLevel = .trace
        return logger
    }

    /// Everything that was logged so far.
    public var text: String { lines.withLock { $0.joined(separator: "\n") } }

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
            memory.lines.withLock { $0.append("\(event.level) \(event.message) \(all)\(error)") }
        }
    }
}
