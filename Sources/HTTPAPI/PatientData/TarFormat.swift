import Domain
import NIOCore

/// The parts of a tar archive in the format "ustar" (POSIX.1-2017, pax, "ustar Interchange Format").
///
/// An archive is a sequence of files and an end. A file is a header, its bytes, and zeros up to a multiple of 512.
enum TarFormat {
    private static let block = 512

    /// What stands behind the last file: two blocks of zeros.
    ///
    /// An archive without them is incomplete.
    static var end: ByteBuffer { ByteBuffer(repeating: 0, count: 2 * block) }

    /// The zeros behind a file.
    ///
    /// - Parameter bytes: The size of the file.
    /// - Returns: None to 511 zeros.
    static func padding(after bytes: Int64) -> ByteBuffer {
        ByteBuffer(repeating: 0, count: Int((Int64(block) - bytes % Int64(block)) % Int64(block)))
    }

    /// The header of a file that only its owner may read.
    ///
    /// - Parameters:
    ///   - name: The path in the archive, at most 100 bytes of ASCII.
    ///   - bytes: The size of the file.
    ///   - time: When the file was written.
    /// - Returns: A block.
    static func header(of name: String, bytes: Int64, at time: Timestamp) -> ByteBuffer {
        precondition(name.utf8.count <= 100, "the name is too long for a header without a prefix")
        var fields = Array(repeating: UInt8(0), count: block)
        func set(_ offset: Int, _ text: String) {
            fields.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
        }
        set(0, name)
        set(100, octal(0o600, digits: 7))
        set(108, octal(0, digits: 7))
        set(116, octal(0, digits: 7))
        if bytes < 1 << 33 {
            set(124, octal(bytes, digits: 11))
        } else {
            // The size has 12 bytes. All programs read a greater one as base 256, which the first bit announces.
            for index in 0..<8 { fields[135 - index] = UInt8(truncatingIfNeeded: bytes >> (8 * Int64(index))) }
            fields[124] = 0x80
        }
        set(136, octal(max(time.microsecondsSinceEpoch / 1_000_000, 0), digits: 11))
        // The sum of all bytes, those of the sum itself taken as spaces.
        set(148, "        ")
        set(156, "0")
        set(257, "ustar\0" + "00")
        set(148, octal(fields.reduce(Int64(0)) { $0 + Int64($1) }, digits: 6) + "\0 ")
        return ByteBuffer(bytes: fields)
    }

    private static func octal(_ number: Int64, digits: Int) -> String {
        let text = String(number, radix: 8)
        return String(repeating: "0", count: digits - text.utf8.count) + text
    }
}
