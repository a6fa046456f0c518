/// A value that can be a parameter of a query.
///
/// Parameters travel in PostgreSQL's binary format with their type. The server never has to guess the type.
public protocol PostgresEncodable: Sendable {
    /// The parameter's type.
    static var postgresType: PostgresType { get }

    /// Writes the value in the binary format of `postgresType`.
    ///
    /// - Parameter buffer: Where it is written.
    func encode(into buffer: inout PostgresBuffer)
}

/// A value that can be read from a column.
public protocol PostgresDecodable: Sendable {
    /// Reads a value in PostgreSQL's binary format.
    ///
    /// - Parameters:
    ///   - bytes: The bytes of the value and no others.
    ///   - type: The column's type, or the element's type in an array.
    /// - Returns: The value.
    /// - Throws: `PostgresDecodingFailure`, which `PostgresRow` turns into an error that names the column.
    static func decode(_ bytes: RawSpan, type: PostgresType) throws -> Self

    /// Makes the value for NULL.
    ///
    /// The default throws `PostgresDecodingFailure.unexpectedNull`.
    ///
    /// - Returns: The value.
    /// - Throws: `PostgresDecodingFailure` if the type has no value for NULL.
    static func decodeNull() throws -> Self
}

extension PostgresDecodable {
    /// Always throws, because only an optional has a value for NULL.
    public static func decodeNull() throws -> Self { throw PostgresDecodingFailure.unexpectedNull }
}

/// A value that can be a parameter and a column.
public typealias PostgresCodable = PostgresDecodable & PostgresEncodable

/// Why a value could not be read.
///
/// It never contains the value.
public enum PostgresDecodingFailure: Error, Hashable, Sendable {
    /// The Swift type cannot be read from the column's type.
    case typeMismatch
    /// The column is NULL, and the Swift type is not optional.
    case unexpectedNull
    /// The number does not fit.
    case outOfRange
    /// The bytes do not fit the column's type, or the Swift type does not accept them.
    case malformed
}

/// The buffer for parameters.
public struct PostgresBuffer: Hashable, Sendable {
    private(set) var bytes: [UInt8] = []
    private(set) var isNull = false

    init() {}

    /// Writes bytes as they are.
    ///
    /// - Parameter newBytes: The bytes.
    public mutating func write(_ newBytes: some Sequence<UInt8>) {
        bytes.append(contentsOf: newBytes)
    }

    /// Writes an integer in network byte order.
    ///
    /// - Parameter integer: The integer.
    public mutating func write(_ integer: some FixedWidthInteger) {
        // To append a fixed number of bytes one by one takes a third of the time of a loop over a sequence.
        let width = integer.bitWidth / 8
        var shift = integer.bitWidth
        bytes.reserveCapacity(bytes.count + width)
        while shift > 0 {
            shift -= 8
            bytes.append(UInt8(truncatingIfNeeded: integer >> shift))
        }
    }

    /// Makes the value NULL.
    ///
    /// Bytes of the value are then ignored.
    public mutating func writeNull() { isNull = true }

    /// Writes a value after its length, as in arrays.
    ///
    /// The length −1 means NULL.
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

    /// Returns whether the last value is NULL, and begins the next value.
    mutating func takeNull() -> Bool {
        defer { isNull = false }
        return isNull
    }
}

extension RawSpan {
    /// Reads an integer in network byte order.
    ///
    /// - Parameters:
    ///   - offset: Where it begins.
    ///   - type: The integer's type.
    /// - Returns: The integer.
    /// - Throws: `PostgresDecodingFailure.malformed` if the bytes end before the integer does.
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

    /// Returns the bytes as an array.
    ///
    /// - Returns: The array.
    public func postgresBytes() -> [UInt8] { unsafe withUnsafeBytes { unsafe Array($0) } }

    /// Returns the bytes as text.
    ///
    /// - Returns: The text.
    /// - Throws: `PostgresDecodingFailure.malformed` if they are not UTF-8.
    public func postgresText() throws -> String {
        guard let text = unsafe withUnsafeBytes({ unsafe String(validating: $0, as: UTF8.self) }) else {
            throw PostgresDecodingFailure.malformed
        }
        return text
    }
}
