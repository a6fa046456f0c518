import Foundation
import NIOCore

/// A parser of `multipart/form-data` (RFC 7578) as a value: it is fed bytes as they come and answers with what they
/// complete.
///
/// It holds at most one header block or one delimiter's length of bytes, however large a part is.
struct MultipartParser {
    /// What the bytes fed so far complete.
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
        /// The file's name, as the client gave it: to be shown, never to be opened.
        var filename: String?
        /// The declared media type.
        var contentType: String?
    }

    /// Why bytes are no multipart body.
    enum Malformation: Error, Equatable {
        /// The `boundary` parameter is missing, or not of 1 to 70 characters (RFC 2046, 5.1.1).
        case badBoundary
        /// The body does not begin with the boundary.
        case noBoundary
        /// A part's headers are longer than ``headerLimit``.
        case headersTooLong
        /// A part has no `Content-Disposition: form-data` with a name, one header twice, or a header line without a colon or
        /// with a NUL or half an end of a line.
        case badHeaders
        /// The body ended before its closing boundary.
        case truncated
    }

    /// The longest header block of a part, in bytes.
    static let headerLimit = 8192
    /// The most spaces and tabs behind a boundary, where nobody sends any.
    static let paddingLimit = 256

    private enum State {
        /// Before the first boundary. Anything there is to be ignored (RFC 2046, 5.1.1), but nobody sends any.
        case preamble
        /// Right behind a boundary: a line end begins a part, `--` ends the body.
        case boundary
        /// In a part's headers.
        case headers
        /// In a part's body.
        case body
        /// Behind the closing boundary. Anything there is ignored.
        case epilogue
    }

    private let delimiter: [UInt8]
    private var state = State.preamble
    private var pending: ByteBuffer

    /// - Parameter contentType: The request's `Content-Type`.
    /// - Throws: ``Malformation/badBoundary``.
    init(contentType: String) throws(Malformation) {
        let parameters = HeaderParameters(contentType)
        guard parameters.value == "multipart/form-data", let boundary = parameters["boundary"],
            (1...70).contains(boundary.utf8.count)
        else { throw .badBoundary }
        delimiter = Array("\r\n--\(boundary)".utf8)
        // The first boundary is not preceded by a line end; with one put before it, it looks like the others.
        pending = ByteBuffer(string: "\r\n")
    }

    /// Whether the closing boundary was seen.
    var isComplete: Bool { state == .epilogue }

    /// Takes in more bytes.
    ///
    /// - Returns: What they complete, in order.
    /// - Throws: A ``Malformation``; the parser is of no use after that.
    mutating func feed(_ bytes: ByteBuffer) throws(Malformation) -> [Event] {
        var bytes = bytes
        if state == .epilogue { return [] }
        // What is to be written behind nothing need not be copied.
        if pending.readableBytes == 0 { pending = bytes } else { pending.writeBuffer(&bytes) }
        var events: [Event] = []
        while try step(&events) {}
        pending.discardReadBytes()
        return events
    }

    /// Says that no more bytes come.
    ///
    /// - Throws: ``Malformation/truncated`` when the closing boundary is missing.
    func finish() throws(Malformation) {
        guard isComplete else { throw .truncated }
    }

    /// Goes one step on; false when that needs more bytes.
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
        // The limits do not depend on how the bytes are cut: here and below, what comes whole is held to them, too.
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
        // A part without headers: the blank line comes at once, and what follows it must not be read as headers.
        if pending.firstOffset(of: Array("\r\n".utf8)) == 0 { throw .badHeaders }
        guard let end = pending.firstOffset(of: Array("\r\n\r\n".utf8)) else {
            if pending.readableBytes >= Self.headerLimit + 4 { throw .headersTooLong }
            return false
        }
        guard end <= Self.headerLimit else { throw .headersTooLong }
        let block = pending.readString(length: end) ?? ""
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
        // By scalars: to a String a colon with a combining mark behind it is one character, and no colon.
        for line in block.unicodeScalars.split(separator: "\r\n".unicodeScalars) {
            // RFC 9110, 5.5: CR, LF and NUL are "invalid and dangerous".
            guard let colon = line.firstIndex(of: ":"), !line.contains(where: { "\r\n\0".unicodeScalars.contains($0) })
            else { throw .badHeaders }
            let value = String(line[line.index(after: colon)...])
            switch (String(line[..<colon]).lowercased(), disposition, contentType) {
            case ("content-disposition", nil, _): disposition = HeaderParameters(value)
            case ("content-type", _, nil): contentType = value.trimmingCharacters(in: .whitespaces)
            case ("content-disposition", _, _), ("content-type", _, _): throw .badHeaders
            default: break
            }
        }
        guard let disposition, disposition.value == "form-data", let name = disposition["name"] else {
            throw .badHeaders
        }
        return Part(name: name, filename: disposition["filename"], contentType: contentType)
    }
}

extension ByteBuffer {
    /// How many of the last readable bytes might be the beginning of `pattern`.
    fileprivate func beginning(of pattern: [UInt8]) -> Int {
        let tail = readableBytesView.suffix(pattern.count - 1)
        for start in tail.indices where tail[start] == pattern[0] && pattern.starts(with: tail[start...]) {
            return tail.endIndex - start
        }
        return 0
    }

    /// The offset from the reader index at which `pattern` first occurs among the readable bytes.
    ///
    /// The search for the first byte is `memchr`, which is what an upload spends its time on.
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
