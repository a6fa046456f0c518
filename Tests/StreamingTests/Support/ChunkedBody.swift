/// The body of a response in chunks (RFC 9112, 7.1), parsed strictly.
struct ChunkedBody: Equatable {
    struct Broken: Error {
        let offset: Int
        let reason: String
    }

    /// The payloads of the whole chunks.
    var payloads: [String] = []
    /// Whether the last chunk was there, and nothing after it.
    var isComplete = false
    /// The beginning of a chunk whose end has not come.
    var rest: [UInt8] = []

    var text: String { payloads.joined() }

    init(_ bytes: some Sequence<UInt8>) throws {
        let bytes = Array(bytes)
        var offset = 0
        while offset < bytes.count {
            guard let size = bytes[offset...].prefix(10).firstIndex(of: UInt8(ascii: "\r")) else { break }
            guard let count = Int(String(decoding: bytes[offset..<size], as: UTF8.self), radix: 16), count >= 0 else {
                throw Broken(offset: offset, reason: "no size")
            }
            let (start, end) = (size + 2, size + 2 + count)
            guard end + 2 <= bytes.count else { break }
            guard bytes[size + 1] == UInt8(ascii: "\n"), Array(bytes[end..<end + 2]) == Array("\r\n".utf8) else {
                throw Broken(offset: offset, reason: "no line end")
            }
            offset = end + 2
            if count == 0 {
                guard offset == bytes.count else { throw Broken(offset: offset, reason: "bytes after the end") }
                isComplete = true
                return
            }
            payloads.append(String(decoding: bytes[start..<end], as: UTF8.self))
        }
        rest = Array(bytes[offset...])
    }
}
