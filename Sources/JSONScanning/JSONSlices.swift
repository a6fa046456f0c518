import FoundationEssentials

/// Checks JSON (RFC 8259), and finds the values of an object or array without decoding them.
///
/// The result of a stage may have many megabytes, and goes to the database unchanged. Decoding and encoding it would
/// cost ten times its size, and could change its numbers and the order of members.
///
/// It also refuses what `jsonb` refuses, because here the program can still explain the error. PostgreSQL 15, 8.14: "It
/// also rejects \u0000 (because that cannot be represented in PostgreSQL's text type), and it insists that any use of
/// Unicode surrogate pairs to designate characters outside the Unicode Basic Multilingual Plane be correct."
public struct JSONSlices {
    /// One member of the outermost object.
    public struct Member: Equatable {
        /// The key without its quotes, with its escapes unchanged.
        public var key: String
        /// The position of the value in the text.
        public var value: Range<Int>

        /// The key without its escapes.
        public var name: String {
            guard key.utf8.contains(UInt8(ascii: "\\")) else { return key }
            // The scanner has checked the escapes: this always decodes.
            return (try? JSONDecoder().decode(String.self, from: Data("\"\(key)\"".utf8))) ?? key
        }
    }

    /// What is wrong, and at which byte.
    public enum Fault: Error, Equatable {
        /// JSON cannot continue with this byte.
        case unexpected(at: Int)
        /// The text ends within a value.
        case truncated
        /// More brackets are open than ``depthLimit``.
        case tooDeep(at: Int)
        /// The text is JSON, but not an object.
        case notAnObject
        /// The text is JSON, but not an array.
        case notAnArray
        /// The text is not UTF-8.
        case notUTF8
        /// An escape that `jsonb` refuses: unknown, NUL, or half of a surrogate pair.
        case badEscape(at: Int)
    }

    /// Deep enough for any transcript, and shallow enough for the stack.
    public static let depthLimit = 256

    /// The members of the object in the text, in their order.
    ///
    /// - Parameter text: The JSON, in UTF-8.
    /// - Returns: The members.
    /// - Throws: ``Fault`` if the text is not a JSON object.
    public static func members(of text: [UInt8]) throws(Fault) -> [Member] {
        try whole(text, beginning: UInt8(ascii: "{"), else: .notAnObject) { scanner throws(Fault) in
            try scanner.object(depth: 0, collect: true)
        }
    }

    /// The positions of the elements of the array in the text.
    ///
    /// - Parameter text: The JSON, in UTF-8.
    /// - Returns: The positions, in the order of the elements.
    /// - Throws: ``Fault`` if the text is not a JSON array.
    public static func elements(of text: [UInt8]) throws(Fault) -> [Range<Int>] {
        try whole(text, beginning: UInt8(ascii: "["), else: .notAnArray) { scanner throws(Fault) in
            try scanner.array(depth: 0, collect: true)
        }
    }

    /// Counts the values in JSON, at most: each value but the first follows a comma or an opening bracket.
    ///
    /// - Parameter text: The bytes, which may be no JSON.
    /// - Returns: The greatest number of values that a decoder can find in them.
    @inlinable
    public static func countValues(of text: some Sequence<UInt8>) -> Int {
        var count = 1
        var isInString = false
        var isEscaped = false
        for byte in text {
            switch byte {
            case _ where isEscaped: isEscaped = false
            case UInt8(ascii: "\\"): isEscaped = isInString
            case UInt8(ascii: "\""): isInString.toggle()
            case UInt8(ascii: ","), UInt8(ascii: "["), UInt8(ascii: "{"): if !isInString { count += 1 }
            default: break
            }
        }
        return count
    }

    /// Reads a whole text that begins with a bracket.
    private static func whole<Found>(
        _ text: [UInt8], beginning bracket: UInt8, else fault: Fault,
        _ read: (inout JSONSlices) throws(Fault) -> Found
    ) throws(Fault) -> Found {
        guard String(validating: text, as: UTF8.self) != nil else { throw .notUTF8 }
        var scanner = JSONSlices(text: text)
        scanner.skipBlanks()
        guard scanner.peek == bracket else {
            // Valid JSON of another kind gets another error than malformed text.
            try scanner.value(depth: 0)
            throw fault
        }
        let found = try read(&scanner)
        scanner.skipBlanks()
        guard scanner.position == text.count else { throw .unexpected(at: scanner.position) }
        return found
    }

    private let text: [UInt8]
    private var position = 0

    private init(text: [UInt8]) {
        self.text = text
    }

    private var peek: UInt8? { position < text.count ? text[position] : nil }

    private mutating func skipBlanks() {
        while let byte = peek, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { position += 1 }
    }

    private mutating func expect(_ byte: UInt8) throws(Fault) {
        guard let next = peek else { throw .truncated }
        guard next == byte else { throw .unexpected(at: position) }
        position += 1
    }

    private mutating func value(depth: Int) throws(Fault) {
        guard depth < Self.depthLimit else { throw .tooDeep(at: position) }
        skipBlanks()
        guard let first = peek else { throw .truncated }
        switch first {
        case UInt8(ascii: "{"): _ = try object(depth: depth, collect: false)
        case UInt8(ascii: "["): _ = try array(depth: depth, collect: false)
        case UInt8(ascii: "\""): try string()
        case UInt8(ascii: "t"): try literal("true")
        case UInt8(ascii: "f"): try literal("false")
        case UInt8(ascii: "n"): try literal("null")
        default: try number()
        }
    }

    private mutating func object(depth: Int, collect: Bool) throws(Fault) -> [Member] {
        var members: [Member] = []
        position += 1
        skipBlanks()
        if peek == UInt8(ascii: "}") {
            position += 1
            return members
        }
        while true {
            skipBlanks()
            let key = position
            try string()
            let keyEnd = position
            skipBlanks()
            try expect(UInt8(ascii: ":"))
            skipBlanks()
            let start = position
            try value(depth: depth + 1)
            if collect {
                members.append(
                    Member(
                        key: String(decoding: text[(key + 1)..<(keyEnd - 1)], as: UTF8.self), value: start..<position)
                )
            }
            if try endOfItems(UInt8(ascii: "}")) { return members }
        }
    }

    private mutating func array(depth: Int, collect: Bool) throws(Fault) -> [Range<Int>] {
        var elements: [Range<Int>] = []
        position += 1
        skipBlanks()
        if peek == UInt8(ascii: "]") {
            position += 1
            return elements
        }
        repeat {
            skipBlanks()
            let start = position
            try value(depth: depth + 1)
            if collect { elements.append(start..<position) }
        } while try !endOfItems(UInt8(ascii: "]"))
        return elements
    }

    /// Reads the comma or the closing bracket after an item.
    private mutating func endOfItems(_ closing: UInt8) throws(Fault) -> Bool {
        skipBlanks()
        guard let next = peek else { throw .truncated }
        guard next == closing || next == UInt8(ascii: ",") else { throw .unexpected(at: position) }
        position += 1
        return next == closing
    }

    private mutating func literal(_ word: StaticString) throws(Fault) {
        for offset in 0..<word.utf8CodeUnitCount {
            try expect(word.utf8Start[offset])
        }
    }

    private mutating func string() throws(Fault) {
        try expect(UInt8(ascii: "\""))
        var expectsLowSurrogate = false
        while let byte = peek {
            if expectsLowSurrogate, byte != UInt8(ascii: "\\") { throw .badEscape(at: position) }
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return
            case UInt8(ascii: "\\"): expectsLowSurrogate = try escape(expectsLowSurrogate: expectsLowSurrogate)
            case 0..<0x20: throw .unexpected(at: position - 1)
            default: break
            }
        }
        throw .truncated
    }

    /// Reads the rest of an escape.
    ///
    /// Returns true if the other half of a surrogate pair has to follow.
    private mutating func escape(expectsLowSurrogate: Bool) throws(Fault) -> Bool {
        guard let kind = peek else { throw .truncated }
        position += 1
        guard kind == UInt8(ascii: "u") else {
            guard !expectsLowSurrogate, "\"\\/bfnrt".utf8.contains(kind) else { throw .badEscape(at: position - 1) }
            return false
        }
        var unit: UInt32 = 0
        for _ in 0..<4 {
            guard let digit = peek else { throw .truncated }
            guard let value = Character(Unicode.Scalar(digit)).hexDigitValue else { throw .badEscape(at: position) }
            unit = unit << 4 | UInt32(value)
            position += 1
        }
        let isLow = (0xDC00...0xDFFF).contains(unit)
        guard unit != 0, isLow == expectsLowSurrogate else { throw .badEscape(at: position - 1) }
        return (0xD800...0xDBFF).contains(unit)
    }

    private mutating func number() throws(Fault) {
        if peek == UInt8(ascii: "-") { position += 1 }
        if peek == UInt8(ascii: "0") { position += 1 } else { try digits() }
        if peek == UInt8(ascii: ".") {
            position += 1
            try digits()
        }
        if let exponent = peek, exponent | 0x20 == UInt8(ascii: "e") {
            position += 1
            if let sign = peek, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
    }

    private mutating func digits() throws(Fault) {
        guard let first = peek else { throw .truncated }
        guard (0x30...0x39).contains(first) else { throw .unexpected(at: position) }
        while let byte = peek, (0x30...0x39).contains(byte) { position += 1 }
    }
}
