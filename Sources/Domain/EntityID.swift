public import Foundation

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
        guard isUUID(description.utf8), let uuid = UUID(uuidString: description) else { return nil }
        self.init(rawValue: uuid)
    }

    /// A new random identifier (UUID version 4).
    public static func random() -> Self { Self(rawValue: UUID()) }

    /// The lower-case text form.
    public var description: String { rawValue.uuidString.lowercased() }

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

/// Whether text is a UUID in the form of RFC 9562, section 4: hexadecimal digits, 8-4-4-4-12.
///
/// Foundation accepts more: it stops at a NUL, and ignores white space between the digits.
private func isUUID(_ text: String.UTF8View) -> Bool {
    text.count == 36
        && text.enumerated().allSatisfy { index, byte in
            switch (index, byte) {
            case (8, _), (13, _), (18, _), (23, _): byte == UInt8(ascii: "-")
            case (_, UInt8(ascii: "0")...UInt8(ascii: "9")), (_, UInt8(ascii: "a")...UInt8(ascii: "f")),
                (_, UInt8(ascii: "A")...UInt8(ascii: "F")):
                true
            default: false
            }
        }
}
