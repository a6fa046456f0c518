import Domain
import Subprocess

/// The last bytes of a text of any length: the end of what a command wrote to standard error.
///
/// Keeps at most `limit` bytes, however much the command writes.
struct OutputTail: Sendable {
    private var bytes: [UInt8] = []
    private let limit: Int
    /// The length of the whole text in bytes.
    private(set) var byteCount = 0

    init(limit: Int = 8 * 1_024) {
        self.limit = limit
    }

    mutating func append(_ new: [UInt8]) {
        byteCount += new.count
        bytes.append(contentsOf: new.suffix(limit))
        if bytes.count > limit { bytes.removeFirst(bytes.count - limit) }
    }

    /// The kept bytes as text.
    ///
    /// Broken UTF-8 is repaired.
    var text: String { String(decoding: bytes, as: UTF8.self) }

    /// The last line that is not blank, without characters that may not be shown, and at most 500 characters long.
    var lastLine: String? {
        for line in text.split(whereSeparator: \.isNewline).reversed() {
            let trimmed = line.shown.drop { $0.isWhitespace }.prefix(500)
            if !trimmed.isEmpty { return String(trimmed) }
        }
        return nil
    }
}

extension OutputTail {
    /// Reads the standard error of a process to its end.
    ///
    /// A broken pipe is an end, too.
    init(of bytes: SubprocessOutputSequence) async {
        self.init()
        do {
            for try await buffer in bytes {
                append(buffer.withUnsafeBytes { Array($0) })
            }
        } catch {
            // The bytes until then are the tail.
        }
    }
}
