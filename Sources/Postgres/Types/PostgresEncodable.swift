/// A value that can be a parameter of a query.
///
/// Parameters travel in PostgreSQL's binary format together with their type, so the server never guesses.
public protocol PostgresEncodable: Sendable {
    /// The type that the server is told.
    static var postgresType: PostgresType { get }

    /// Writes the value in the binary format of `postgresType`.
    func encode(into buffer: inout PostgresBuffer)
}

/// A value that can be read from a column.
public protocol PostgresDecodable: Sendable {
    /// Reads a value in PostgreSQL's binary format.
    ///
    /// - Parameters:
    ///   - bytes: exactly the value's bytes.
    ///   - type: the column's type, or the element's in an array.
    /// - Returns: the value.
    /// - Throws: `PostgresDecodingFailure`, which `PostgresRow` turns into an error that names the column.
    static func decode(_ bytes: RawSpan, type: PostgresType) throws -> Self

    /// What stands for NULL; the default throws `PostgresDecodingFailure.unexpectedNull`.
    static func decodeNull() throws -> Self
}

extension PostgresDecodable {
    /// Throws: only an optional can be NULL.
    public static func decodeNull() throws -> Self { throw PostgresDecodingFailure.unexpectedNull }
}

/// Both ways.
public typealias PostgresCodable = PostgresDecodable & PostgresEncodable

/// Why a value could not be read; it never says what the value was.
public enum PostgresDecodingFailure: Error, Hashable, Sendable {
    /// The column's type is none that the Swift type can be read from.
    case typeMismatch
    /// The column is NULL, and the Swift type is not optional.
    case unexpectedNull
    /// The number does not fit.
    case outOfRange
    /// The bytes are not what the column's type promises, or not what the Swift type accepts.
    case malformed
}

/// Where parameters are written to.
public struct PostgresBuffer: Hashable, Sendable {
    private(set) var bytes: [UInt8] = []
    private(set) var isNull = false

    init() {}

    /// Writes the bytes as they are.
    public mutating func write(_ newBytes: some Sequence<UInt8>) {
        bytes.append(contentsOf: newBytes)
    }

    /// Writes an integer in network byte order.
    public mutating func write(_ integer: some FixedWidthInteger) {
        // Unrolled by hand: one append of a fixed width is a third of the time of a loop over bytes.
        let width = integer.bitWidth / 8
        var shift = integer.bitWidth
        bytes.reserveCapacity(bytes.count + width)
        while shift > 0 {
            shift -= 8
            bytes.append(UInt8(truncatingIfNeeded: integer >> shift))
        }
    }

    /// Makes the value NULL, whatever else is written.
    public mutating func writeNull() { isNull = true }

    /// Writes a value with its length before it, as in arrays; −1 stands for NULL.
    mutating func writeWithLength(_ value: some PostgresEncodable) {
        let start = bytes.count
        write(Int32(0))
        value.encode(into: &self)
        var length = Int32(bytes.count - start - 4)
        if isNull {
            isNull = false
            bytes.removeSubrange((start + 4)...)
            length = -1
        }
        for offset in 0..<4 { bytes[start + offset] = UInt8(truncatingIfNeeded: length >> (24 - 8 * offset)) }
    }

    /// Takes what was written since the last time.
    mutating func takeNull() -> Bool {
        defer { isNull = false }
        return isNull
    }
}

extension RawSpan {
    /// Reads an integer in network byte order.
    ///
    /// - Parameters:
    ///   - offset: where it begins.
    ///   - type: the integer's type.
    /// - Returns: the integer.
    /// - Throws: `PostgresDecodingFailure.malformed` when the bytes end before the integer does.
    public func postgresInteger<Integer: FixedWidthInteger>(
        at offset: Int = 0,
        as type: Integer.Type = Integer.self
    ) throws -> Integer {
        let width = Integer.bitWidth / 8
        guard offset >= 0, byteCount >= width, offset <= byteCount - width else {
            throw PostgresDecodingFailure.malformed
        }
        return unsafe withUnsafeBytes {
            unsafe Integer(bigEndian: $0.loadUnaligned(fromByteOffset: offset, as: Integer.self))
        }
    }

    /// The bytes as an array.
    public func postgresBytes() -> [UInt8] { unsafe withUnsafeBytes { unsafe Array($0) } }

    /// The bytes as text.
    ///
    /// - Throws: `PostgresDecodingFailure.malformed` when they are not UTF-8.
    public func postgresText() throws -> String {
        guard let text = unsafe withUnsafeBytes({ unsafe String(validating: $0, as: UTF8.self) }) else {
            throw PostgresDecodingFailure.malformed
        }
        return text
    }
}
