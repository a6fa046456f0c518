import FoundationEssentials
import Glibc
import Logging
import Synchronization

/// Writes each message as one line of text to standard error, in the form of swift-log's `StreamLogHandler`.
///
/// Each request and each stream has a line. This handler takes a fraction of the time: it makes the bytes of a line in one
/// buffer, formats the time once a second, and merges no dictionaries.
struct TextLogHandler: LogHandler {
    let label: String
    /// A level of this logger alone.
    private var ownLevel: Logger.Level?
    var logLevel: Logger.Level {
        get { ownLevel ?? LogOutput.level }
        set { ownLevel = newValue }
    }
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?

    private static let times = Mutex<(second: Int, text: [UInt8])>((.min, []))

    init(label: String) {
        self.label = label
        metadataProvider = LoggingSystem.metadataProvider
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        LogWriter.shared.write(line(event, at: Glibc.time(nil)))
    }

    /// The line of a message, with its end.
    func line(_ event: LogEvent, at second: Int) -> [UInt8] {
        var line: [UInt8] = []
        line.reserveCapacity(256)
        line += Self.timestamp(second)
        line += " \(event.level.rawValue)".utf8
        if !label.isEmpty { line += " \(label)".utf8 }
        line.append(UInt8(ascii: ":"))
        for (key, value) in values(of: event) {
            line.append(UInt8(ascii: " "))
            line += key.utf8
            line.append(UInt8(ascii: "="))
            if case .string(let text) = value { line += text.utf8 } else { line += "\(value)".utf8 }
        }
        line += " [\(event.source)] ".utf8
        line += "\(event.message)\n".utf8
        return line
    }

    /// The metadata of a message in the order of the keys: that of the message wins over the provider's, and this over the
    /// handler's.
    private func values(of event: LogEvent) -> [(key: String, value: Logger.MetadataValue)] {
        var values: [(key: String, value: Logger.MetadataValue)] = []
        if let error = event.error {
            values.append(("error.message", "\(error)"))
            values.append(("error.type", "\(String(reflecting: type(of: error)))"))
        }
        for metadata in [event.metadata ?? [:], metadataProvider?.get() ?? [:], metadata] {
            for (key, value) in metadata where !values.contains(where: { $0.key == key }) {
                values.append((key, value))
            }
        }
        return values.sorted { $0.key < $1.key }
    }

    /// The local time, such as `2026-11-22T10:30:00+0100`.
    private static func timestamp(_ second: Int) -> [UInt8] {
        times.withLock { present in
            if present.second != second {
                var moment = second
                var parts = tm()
                localtime_r(&moment, &parts)
                let text = [UInt8](unsafeUninitializedCapacity: 64) { buffer, count in
                    count = buffer.withMemoryRebound(to: CChar.self) {
                        strftime($0.baseAddress!, $0.count, "%Y-%m-%dT%H:%M:%S%z", &parts)
                    }
                }
                present = (second, text)
            }
            return present.text
        }
    }
}
