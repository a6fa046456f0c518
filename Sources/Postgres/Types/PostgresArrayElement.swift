public import FoundationEssentials

/// A value that can be an element of an array.
///
/// A type of another module declares `extension PatientID: PostgresRepresentable, PostgresArrayElement {}` and gets
/// both from its `PostgresValue`.
public protocol PostgresArrayElement: PostgresCodable {
    /// The type of an array of such elements.
    static var postgresArrayType: PostgresType { get }

    /// Writes an array in PostgreSQL's binary format.
    ///
    /// The default serves every type but bytes.
    ///
    /// - Parameters:
    ///   - array: The array.
    ///   - buffer: Where it is written.
    static func encodeArray(_ array: [Self], into buffer: inout PostgresBuffer)

    /// Reads an array in PostgreSQL's binary format.
    ///
    /// The default serves every type but bytes.
    ///
    /// - Parameters:
    ///   - bytes: The bytes of the array.
    ///   - type: The column's type.
    /// - Returns: The array.
    /// - Throws: `PostgresDecodingFailure`
    static func decodeArray(_ bytes: RawSpan, type: PostgresType) throws -> [Self]
}

extension PostgresArrayElement {
    /// Writes an array as `array_send` in PostgreSQL's `arrayfuncs.c` does.
    ///
    /// The header has the number of dimensions, whether NULL occurs, the element's OID, and each dimension's size and
    /// first index. Each element follows after its length.
    public static func encodeArray(_ array: [Self], into buffer: inout PostgresBuffer) {
        buffer.write(Int32(array.isEmpty ? 0 : 1))
        // `array_recv` reads this flag, but trusts the elements' lengths.
        buffer.write(Int32(0))
        buffer.write(Int32(bitPattern: postgresType.oid))
        guard !array.isEmpty else { return }
        buffer.write(Int32(array.count))
        buffer.write(Int32(1))
        for element in array { buffer.writeWithLength(element) }
    }

    /// Reads an array of at most one dimension.
    public static func decodeArray(_ bytes: RawSpan, type: PostgresType) throws -> [Self] {
        let dimensions: Int32 = try bytes.postgresInteger(at: 0)
        let elementType = PostgresType(oid: try bytes.postgresInteger(at: 8))
        if dimensions == 0 { return [] }
        guard dimensions == 1 else { throw PostgresDecodingFailure.typeMismatch }
        let count: Int32 = try bytes.postgresInteger(at: 12)
        guard count >= 0, Int(count) <= bytes.byteCount / 4 else { throw PostgresDecodingFailure.malformed }
        var array: [Self] = []
        array.reserveCapacity(Int(count))
        var offset = 20
        for _ in 0..<count {
            let length = Int(try bytes.postgresInteger(at: offset, as: Int32.self))
            offset += 4
            if length < 0 {
                array.append(try decodeNull())
                continue
            }
            guard length <= bytes.byteCount - offset else { throw PostgresDecodingFailure.malformed }
            array.append(try decode(bytes.extracting(offset..<offset + length), type: elementType))
            offset += length
        }
        return array
    }
}

extension Array: PostgresEncodable where Element: PostgresArrayElement {
    /// The array type of the element.
    public static var postgresType: PostgresType { Element.postgresArrayType }

    /// Writes the array.
    public func encode(into buffer: inout PostgresBuffer) { Element.encodeArray(self, into: &buffer) }
}

extension Array: PostgresDecodable where Element: PostgresArrayElement {
    /// Reads the array.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> [Element] {
        try Element.decodeArray(bytes, type: type)
    }
}

extension Bool: PostgresArrayElement {
    /// The type `boolean[]`.
    public static var postgresArrayType: PostgresType { .boolArray }
}
extension Int16: PostgresArrayElement {
    /// The type `smallint[]`.
    public static var postgresArrayType: PostgresType { .int2Array }
}
extension Int32: PostgresArrayElement {
    /// The type `integer[]`.
    public static var postgresArrayType: PostgresType { .int4Array }
}
extension Int64: PostgresArrayElement {
    /// The type `bigint[]`.
    public static var postgresArrayType: PostgresType { .int8Array }
}
extension Int: PostgresArrayElement {
    /// The type `bigint[]`.
    public static var postgresArrayType: PostgresType { .int8Array }
}
extension Double: PostgresArrayElement {
    /// The type `double precision[]`.
    public static var postgresArrayType: PostgresType { .float8Array }
}
extension String: PostgresArrayElement {
    /// The type `text[]`.
    public static var postgresArrayType: PostgresType { .textArray }
}
extension UUID: PostgresArrayElement {
    /// The type `uuid[]`.
    public static var postgresArrayType: PostgresType { .uuidArray }
}
extension Data: PostgresArrayElement {
    /// The type `bytea[]`.
    public static var postgresArrayType: PostgresType { .byteaArray }
}
extension Optional: PostgresArrayElement where Wrapped: PostgresArrayElement {
    /// The array type of what is wrapped.
    public static var postgresArrayType: PostgresType { Wrapped.postgresArrayType }
}

/// A byte, which makes `[UInt8]` a `bytea`.
///
/// A single byte cannot be a parameter or a column.
extension UInt8: PostgresArrayElement {
    /// The type `bytea`, because an array of bytes is one value.
    public static var postgresArrayType: PostgresType { .bytea }

    /// The type `"char"`.
    ///
    /// Only `[UInt8]` is useful.
    public static var postgresType: PostgresType { .char }

    /// Writes one byte.
    public func encode(into buffer: inout PostgresBuffer) { buffer.write(self) }

    /// Reads `"char"`.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> UInt8 {
        guard type == .char else { throw PostgresDecodingFailure.typeMismatch }
        return try bytes.postgresInteger()
    }

    /// Writes the bytes.
    public static func encodeArray(_ array: [UInt8], into buffer: inout PostgresBuffer) { buffer.write(array) }

    /// Reads `bytea`.
    public static func decodeArray(_ bytes: RawSpan, type: PostgresType) throws -> [UInt8] {
        guard type == .bytea else { throw PostgresDecodingFailure.typeMismatch }
        return bytes.postgresBytes()
    }
}
