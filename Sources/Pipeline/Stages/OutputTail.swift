import Domain
import Subprocess

/// The last bytes of a text of any length: the end of what a command wrote to standard error.
///
/// Keeps at most `limit` bytes and a margin, however much the command writes.
struct OutputTail: Sendable {
    private var bytes: [UInt8] = []
    private let limit: Int
    /// The length of the whole text in bytes.
    private(set) var byteCount = 0

    /// How much more than the limit is kept, in bytes.
    ///
    /// A secret that is cut in two lies in the margin, and does not end up in the text.
    private static let margin = 4 * 1_024

    init(limit: Int = 8 * 1_024) {
        self.limit = limit
    }

    mutating func append(_ new: [UInt8]) {
        byteCount += new.count
        bytes.append(contentsOf: new.suffix(limit + Self.margin))
        if bytes.count > limit + Self.margin { bytes.removeFirst(bytes.count - limit - Self.margin) }
    }

    /// The end of the text for administrators, at most `limit` bytes long.
    ///
    /// Broken UTF-8 is repaired. A carriage return ends a line. Other characters that may not be shown become blanks.
    ///
    /// - Parameter secrets: Variables whose values are replaced by `$` and their names.
    /// - Returns: The text.
    func text(without secrets: SecretValues = SecretValues()) -> String {
        let text = secrets.hidden(in: String(decoding: bytes, as: UTF8.self))
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).map(\.oneLine)
        let shown = lines.joined(separator: "\n")
        guard shown.utf8.count > limit else { return shown }
        // The cut may have divided a character.
        return String(decoding: Array(shown.utf8.suffix(limit).drop { $0 & 0xC0 == 0x80 }), as: UTF8.self)
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
