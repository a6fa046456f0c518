public import FoundationEssentials

/// An identifier of one kind of entity: a UUID with a type of its own.
///
/// The text form is the lower-case UUID of RFC 9562, section 4. Parsing also accepts upper case, as that section
/// requires: "output as lowercase characters and are case insensitive on input".
public protocol EntityID: Hashable, Sendable, Codable, LosslessStringConvertible, Comparable {
    /// The UUID as the database stores it.
    var rawValue: UUID { get }

    /// Wraps a UUID.
    init(rawValue: UUID)
}

extension EntityID {
    /// Parses the text form of a UUID; nil for any other text.
    public init?(_ description: String) {
        guard let uuid = uuid(description.utf8) else { return nil }
        self.init(rawValue: uuid)
    }

    /// Parses the text form of a UUID in UTF-8; nil for any other text.
    public init?(utf8 text: ArraySlice<UInt8>) {
        guard let uuid = uuid(text) else { return nil }
        self.init(rawValue: uuid)
    }

    /// A new random identifier (UUID version 4).
    public static func random() -> Self { Self(rawValue: randomUUID()) }

    /// The lower-case text form.
    public var description: String {
        String(unsafeUninitializedCapacity: textLength) {
            write(rawValue, to: $0)
            return textLength
        }
    }

    /// Appends the lower-case text form in ASCII.
    public func append(to bytes: inout [UInt8]) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: textLength) { text in
            write(rawValue, to: text)
            bytes.append(contentsOf: text)
        }
    }

    /// Orders by bytes, as PostgreSQL orders `uuid`.
    ///
    /// Statements lock rows in this order.
    public static func < (left: Self, right: Self) -> Bool {
        withUnsafeBytes(of: left.rawValue.uuid) { left in
            withUnsafeBytes(of: right.rawValue.uuid) { right in
                left.lexicographicallyPrecedes(right)
            }
        }
    }

    /// Decodes the text form.
    ///
    /// - Throws: `DecodingError` if the value is not a UUID in text form.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let id = Self(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a UUID")
        }
        self = id
    }

    /// Encodes the lower-case text form.
    ///
    /// - Throws: The error of the encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// The identifier of a ``User``.
public struct UserID: EntityID {
    /// The UUID as the database stores it.
    public let rawValue: UUID
    /// Wraps a UUID.
    public init(rawValue: UUID) { self.rawValue = rawValue }
}

/// The identifier of a ``TherapySession``.
public struct SessionID: EntityID {
    /// The UUID as the database stores it.
    public let rawValue: UUID
    /// Wraps a UUID.
    public init(rawValue: UUID) { self.rawValue = rawValue }
}

/// The identifier of a sign-in.
public struct SignInID: EntityID {
    /// The UUID as the database stores it.
    public let rawValue: UUID
    /// Wraps a UUID.
    public init(rawValue: UUID) { self.rawValue = rawValue }
}

/// The identifier of a request, which names it to the client, in the log and in the audit log.
public struct RequestIdentifier: EntityID {
    /// The UUID as the database gets it.
    public let rawValue: UUID
    /// Wraps a UUID.
    public init(rawValue: UUID) { self.rawValue = rawValue }
}

/// A new random UUID (RFC 9562, 5.4).
///
/// Foundation's `UUID()` opens a file of random bytes for each one, which takes longer than all the rest.
private func randomUUID() -> UUID {
    var generator = SystemRandomNumberGenerator()
    let high = generator.next() & ~0xF000 | 0x4000
    let low = generator.next() & ~(0b11 << 62) | 0b10 << 62
    return withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
}

/// The length of the text form of a UUID.
private let textLength = 36

/// Writes the lower-case text form of a UUID (RFC 9562, 4), without a copy of an upper-case one.
private func write(_ uuid: UUID, to text: UnsafeMutableBufferPointer<UInt8>) {
    let digits = StaticString("0123456789abcdef")
    let words = withUnsafeBytes(of: uuid.uuid) { $0.loadUnaligned(as: (UInt64, UInt64).self) }
    var position = 0
    for word in [UInt64(bigEndian: words.0), UInt64(bigEndian: words.1)] {
        for shift in stride(from: 60, through: 0, by: -4) {
            if isDash(position) {
                text[position] = UInt8(ascii: "-")
                position += 1
            }
            text[position] = digits.utf8Start[Int(word >> UInt64(shift) & 0xF)]
            position += 1
        }
    }
}

/// Whether the text form has a dash at a position.
private func isDash(_ position: Int) -> Bool { position == 8 || position == 13 || position == 18 || position == 23 }

/// Reads a UUID in the form of RFC 9562, section 4: hexadecimal digits, 8-4-4-4-12; nil for any other text.
///
/// Foundation accepts more: it stops at a NUL, and ignores white space between the digits.
private func uuid(_ text: some Collection<UInt8>) -> UUID? {
    var (high, low): (UInt64, UInt64) = (0, 0)
    var position = 0
    for byte in text {
        guard position < textLength else { return nil }
        if isDash(position) {
            guard byte == UInt8(ascii: "-") else { return nil }
        } else {
            guard let digit = hexadecimalDigit(byte) else { return nil }
            // 18 characters precede the second half: 16 digits and two dashes.
            if position < 18 { high = high << 4 | digit } else { low = low << 4 | digit }
        }
        position += 1
    }
    guard position == textLength else { return nil }
    return withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
}

private func hexadecimalDigit(_ byte: UInt8) -> UInt64? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(byte - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt64(byte - UInt8(ascii: "A") + 10)
    default: nil
    }
}
