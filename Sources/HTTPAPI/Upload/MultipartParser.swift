import FoundationEssentials
import Glibc
import NIOCore
import TextForms

/// A parser of `multipart/form-data` (RFC 7578) as a value: it takes bytes as they arrive, and returns the events that
/// they complete.
///
/// It stores at most one header block or one delimiter, however large a part is.
struct MultipartParser {
    /// An event that the bytes have completed.
    enum Event: Equatable {
        /// A part begins.
        case began(Part)
        /// Bytes of the part's body.
        case body(ByteBuffer)
        /// The part is complete.
        case ended
    }

    /// The head of a part.
    struct Part: Equatable {
        /// The form field's name.
        var name: String
        /// The file's name, as the client gave it.
        ///
        /// `filename*` wins over `filename`, although RFC 7578, 4.2 forbids it: programs send both, and the other one is
        /// a stand-in in ASCII. The server shows the name, and never opens it.
        var filename: String?
        /// The declared media type.
        var contentType: String?
    }

    /// Why bytes are not a multipart body.
    enum Malformation: Error, Equatable {
        /// The `boundary` parameter is missing, or does not have 1 to 70 characters (RFC 2046, 5.1.1).
        case badBoundary
        /// The body does not begin with the boundary.
        case noBoundary
        /// A part's headers are longer than ``headerLimit``.
        case headersTooLong
        /// A part has no `Content-Disposition: form-data` with a name, repeats a header, or has a header line without a
        /// colon, with a NUL, or with half a line ending.
        case badHeaders
        /// The body ended before its closing boundary.
        case truncated
    }

    /// The maximum size of a part's header block, in bytes.
    static let headerLimit = 8192
    /// The maximum number of spaces and tabs after a boundary.
    ///
    /// Known clients send none.
    static let paddingLimit = 256

    private enum State {
        /// Before the first boundary. The parser ignores bytes here (RFC 2046, 5.1.1), which known clients do not send.
        case preamble
        /// Right after a boundary: a line ending begins a part, and `--` ends the body.
        case boundary
        /// In a part's headers.
        case headers
        /// In a part's body.
        case body
        /// After the closing boundary. The parser ignores everything here.
        case epilogue
    }

    private let delimiter: [UInt8]
    private var state = State.preamble
    private var pending: ByteBuffer
    /// What is wrong after the events that ``feed(_:)`` has returned.
    private var malformation: Malformation?

    /// A parser for one body.
    ///
    /// - Parameter contentType: The request's `Content-Type`.
    /// - Throws: ``Malformation/badBoundary``.
    init(contentType: String) throws(Malformation) {
        let parameters = HeaderParameters(contentType)
        guard parameters.value == "multipart/form-data", let boundary = parameters["boundary"],
            (1...70).contains(boundary.utf8.count)
        else { throw .badBoundary }
        delimiter = Array("\r\n--\(boundary)".utf8)
        // No line ending precedes the first boundary. With one added, it looks like the other boundaries.
        pending = ByteBuffer(string: "\r\n")
    }

    /// True once the parser has read the closing boundary.
    var isComplete: Bool { state == .epilogue }

    /// Takes more bytes.
    ///
    /// - Parameter bytes: The next bytes of the body.
    /// - Returns: The events that they complete, in order.
    /// - Throws: A ``Malformation``, after the events before it have been returned. The parser cannot be used after that.
    mutating func feed(_ bytes: ByteBuffer) throws(Malformation) -> [Event] {
        var bytes = bytes
        if state == .epilogue { return [] }
        // An empty buffer takes the bytes over without copying them.
        if pending.readableBytes == 0 { pending = bytes } else { pending.writeBuffer(&bytes) }
        var events: [Event] = []
        if let malformation { throw malformation }
        do {
            while try step(&events) {}
        } catch {
            // What came before the fault counts, however the network splits the bytes.
            if events.isEmpty { throw error }
            malformation = error
        }
        pending.discardReadBytes()
        return events
    }

    /// Ends the body.
    ///
    /// - Throws: ``Malformation/truncated`` if the closing boundary is missing; a malformation after the last events.
    func finish() throws(Malformation) {
        if let malformation { throw malformation }
        guard isComplete else { throw .truncated }
    }

    /// Takes one step; returns false if that needs more bytes.
    private mutating func step(_ events: inout [Event]) throws(Malformation) -> Bool {
        switch state {
        case .preamble: return try skipPreamble()
        case .boundary: return try readBoundaryEnd()
        case .headers: return try readHeaders(&events)
        case .body: return readBody(&events)
        case .epilogue:
            pending.clear()
            return false
        }
    }

    private mutating func skipPreamble() throws(Malformation) -> Bool {
        // The limits, here and below, do not depend on how the network splits the bytes: they also apply to bytes that
        // arrive together.
        if let offset = pending.firstOffset(of: delimiter) {
            guard offset <= Self.headerLimit else { throw .noBoundary }
            pending.moveReaderIndex(forwardBy: offset + delimiter.count)
            state = .boundary
            return true
        }
        if pending.readableBytes >= delimiter.count + Self.headerLimit { throw .noBoundary }
        return false
    }

    private mutating func readBoundaryEnd() throws(Malformation) -> Bool {
        // RFC 2046, 5.1.1: the boundary may be followed by "transport padding" of spaces and tabs.
        let padding = pending.readableBytesView.prefix { $0 == 0x20 || $0 == 0x09 }.count
        guard padding <= Self.paddingLimit else { throw .noBoundary }
        guard pending.readableBytes >= padding + 2 else { return false }
        pending.moveReaderIndex(forwardBy: padding)
        guard let end = pending.readBytes(length: 2) else { return false }
        switch end {
        case Array("--".utf8): state = .epilogue
        case Array("\r\n".utf8): state = .headers
        default: throw .noBoundary
        }
        return true
    }

    private mutating func readHeaders(_ events: inout [Event]) throws(Malformation) -> Bool {
        // In a part without headers, the blank line comes at once. The bytes after it must not count as headers.
        if pending.firstOffset(of: Array("\r\n".utf8)) == 0 { throw .badHeaders }
        guard let end = pending.firstOffset(of: Array("\r\n\r\n".utf8)) else {
            if pending.readableBytes >= Self.headerLimit + 4 { throw .headersTooLong }
            return false
        }
        guard end <= Self.headerLimit else { throw .headersTooLong }
        let bytes = pending.readBytes(length: end) ?? []
        // Old programs send names in the character set of their system.
        let block =
            String(validating: bytes, as: UTF8.self)
            ?? String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) }))
        pending.moveReaderIndex(forwardBy: 4)
        events.append(.began(try Self.part(headers: block)))
        state = .body
        return true
    }

    private mutating func readBody(_ events: inout [Event]) -> Bool {
        if let offset = pending.firstOffset(of: delimiter) {
            if offset > 0, let bytes = pending.readSlice(length: offset) { events.append(.body(bytes)) }
            pending.moveReaderIndex(forwardBy: delimiter.count)
            events.append(.ended)
            state = .boundary
            return true
        }
        let held = pending.beginning(of: delimiter)
        if pending.readableBytes > held, let bytes = pending.readSlice(length: pending.readableBytes - held) {
            events.append(.body(bytes))
        }
        return false
    }

    private static func part(headers block: String) throws(Malformation) -> Part {
        var disposition: HeaderParameters?
        var contentType: String?
        // This works on Unicode scalars. In a String, a colon and a combining mark after it are one character, which is
        // not a colon.
        for line in block.unicodeScalars.split(separator: "\r\n".unicodeScalars) {
            // RFC 9110, 5.5: CR, LF and NUL are "invalid and dangerous".
            guard let colon = line.firstIndex(of: ":"), !line.contains(where: { "\r\n\0".unicodeScalars.contains($0) })
            else { throw .badHeaders }
            let value = String(line[line.index(after: colon)...])
            switch (String(line[..<colon]).lowercased(), disposition, contentType) {
            case ("content-disposition", nil, _): disposition = HeaderParameters(value)
            case ("content-type", _, nil): contentType = value.trimmed
            case ("content-disposition", _, _), ("content-type", _, _): throw .badHeaders
            default: break
            }
        }
        guard let disposition, disposition.value == "form-data", let name = disposition["name"] else {
            throw .badHeaders
        }
        let filename = disposition.extended("filename") ?? disposition["filename"]
        return Part(name: name, filename: filename, contentType: contentType)
    }
}

extension ByteBuffer {
    /// How many of the last readable bytes may be the beginning of `pattern`.
    fileprivate func beginning(of pattern: [UInt8]) -> Int {
        let tail = readableBytesView.suffix(pattern.count - 1)
        for start in tail.indices where tail[start] == pattern[0] && pattern.starts(with: tail[start...]) {
            return tail.endIndex - start
        }
        return 0
    }

    /// The offset from the reader index to the first `pattern` in the readable bytes; nil if there is none.
    ///
    /// It finds the first byte by `memchr`, because an upload spends most of its time here.
    fileprivate func firstOffset(of pattern: [UInt8]) -> Int? {
        withUnsafeReadableBytes { bytes in
            guard let start = bytes.baseAddress, let first = pattern.first else { return nil }
            var offset = 0
            while bytes.count - offset >= pattern.count {
                let candidates = bytes.count - offset - pattern.count + 1
                guard let found = memchr(start + offset, CInt(first), candidates) else { return nil }
                offset = UnsafeRawPointer(found) - start
                if memcmp(found, pattern, pattern.count) == 0 { return offset }
                offset += 1
            }
            return nil
        }
    }
}
