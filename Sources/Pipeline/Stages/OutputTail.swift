import Domain
import Subprocess

/// The end of a text of any length: what a command wrote last on standard error.
///
/// At most `limit` bytes are kept, so a command that complains for hours costs no memory.
struct OutputTail: Sendable {
    private var bytes: [UInt8] = []
    private let limit: Int
    /// How many bytes there were, kept or not.
    private(set) var byteCount = 0

    init(limit: Int = 8 * 1_024) {
        self.limit = limit
    }

    mutating func append(_ new: [UInt8]) {
        byteCount += new.count
        bytes.append(contentsOf: new.suffix(limit))
        if bytes.count > limit { bytes.removeFirst(bytes.count - limit) }
    }

    /// All that is kept, with broken UTF-8 repaired.
    var text: String { String(decoding: bytes, as: UTF8.self) }

    /// The last line that is not blank, made fit to be shown: without what may not be shown, at most 500 characters.
    var lastLine: String? {
        for line in text.split(whereSeparator: \.isNewline).reversed() {
            let trimmed = line.shown.drop { $0.isWhitespace }.prefix(500)
            if !trimmed.isEmpty { return String(trimmed) }
        }
        return nil
    }
}

extension OutputTail {
    /// Reads a process's standard error to its end and keeps the tail; a pipe that breaks is an end too.
    init(of bytes: SubprocessOutputSequence) async {
        self.init()
        do {
            for try await buffer in bytes {
                append(buffer.withUnsafeBytes { Array($0) })
            }
        } catch {
            // What was read is the tail.
        }
    }
}
