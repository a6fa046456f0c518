public import FoundationEssentials

extension Bool: PostgresCodable {
    /// The type `boolean`.
    public static var postgresType: PostgresType { .bool }

    /// Writes one byte.
    public func encode(into buffer: inout PostgresBuffer) { buffer.write(self ? 1 : 0 as UInt8) }

    /// Reads `boolean`.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> Bool {
        guard type == .bool else { throw PostgresDecodingFailure.typeMismatch }
        return try bytes.postgresInteger(as: UInt8.self) != 0
    }
}

extension PostgresEncodable where Self: FixedWidthInteger {
    /// Writes as many bytes as the integer has.
    public func encode(into buffer: inout PostgresBuffer) { buffer.write(self) }
}

extension PostgresDecodable where Self: FixedWidthInteger {
    /// Reads any integer type whose value fits.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> Self {
        let value: Int64
        switch type {
        case .int8: value = try bytes.postgresInteger()
        case .int4: value = Int64(try bytes.postgresInteger(as: Int32.self))
        case .int2: value = Int64(try bytes.postgresInteger(as: Int16.self))
        case .oid: value = Int64(try bytes.postgresInteger(as: UInt32.self))
        default: throw PostgresDecodingFailure.typeMismatch
        }
        guard let result = Self(exactly: value) else { throw PostgresDecodingFailure.outOfRange }
        return result
    }
}

extension Int16: PostgresCodable {
    /// The type `smallint`.
    public static var postgresType: PostgresType { .int2 }
}

extension Int32: PostgresCodable {
    /// The type `integer`.
    public static var postgresType: PostgresType { .int4 }
}

extension Int64: PostgresCodable {
    /// The type `bigint`.
    public static var postgresType: PostgresType { .int8 }
}

extension Int: PostgresCodable {
    /// The type `bigint`.
    ///
    /// If the server wants `integer`, write `\(n)::int4` or bind an `Int32`.
    public static var postgresType: PostgresType { .int8 }
}

extension Double: PostgresCodable {
    /// The type `double precision`.
    public static var postgresType: PostgresType { .float8 }

    /// Writes the IEEE 754 bits.
    public func encode(into buffer: inout PostgresBuffer) { buffer.write(bitPattern) }

    /// Reads `double precision` and `real`.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> Double {
        switch type {
        case .float8: return Double(bitPattern: try bytes.postgresInteger())
        case .float4: return Double(Float(bitPattern: try bytes.postgresInteger()))
        default: throw PostgresDecodingFailure.typeMismatch
        }
    }
}

extension String: PostgresCodable {
    /// The type `text`.
    ///
    /// For an enum write `\(status)::text::app.status`; for JSON bind a `PostgresJSON`.
    public static var postgresType: PostgresType { .text }

    /// Writes UTF-8.
    ///
    /// The server refuses a NUL with `SQLState.characterNotInRepertoire`.
    public func encode(into buffer: inout PostgresBuffer) { buffer.write(utf8) }

    /// Reads the text types, `name`, JSON, and user-defined types with text as binary form: enums, `citext`.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> String {
        switch type {
        case .text, .varchar, .bpchar, .name, .unknown, .char, .json: return try bytes.postgresText()
        case .jsonb: return try PostgresJSON.decode(bytes, type: type).text
        case _ where type.isUserDefined: return try bytes.postgresText()
        default: throw PostgresDecodingFailure.typeMismatch
        }
    }
}

extension UUID: PostgresCodable {
    /// The type `uuid`.
    public static var postgresType: PostgresType { .uuid }

    /// Writes sixteen bytes.
    public func encode(into buffer: inout PostgresBuffer) {
        let (high, low) = words
        buffer.write(high)
        buffer.write(low)
    }

    private var words: (UInt64, UInt64) {
        let bytes = uuid
        func word(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8, _ e: UInt8, _ f: UInt8, _ g: UInt8, _ h: UInt8)
            -> UInt64
        {
            let high = UInt64(a) << 56 | UInt64(b) << 48 | UInt64(c) << 40 | UInt64(d) << 32
            return high | UInt64(e) << 24 | UInt64(f) << 16 | UInt64(g) << 8 | UInt64(h)
        }
        return (
            word(bytes.0, bytes.1, bytes.2, bytes.3, bytes.4, bytes.5, bytes.6, bytes.7),
            word(bytes.8, bytes.9, bytes.10, bytes.11, bytes.12, bytes.13, bytes.14, bytes.15)
        )
    }

    /// Reads `uuid`.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> UUID {
        guard type == .uuid else { throw PostgresDecodingFailure.typeMismatch }
        guard bytes.byteCount == 16 else { throw PostgresDecodingFailure.malformed }
        return unsafe bytes.withUnsafeBytes { unsafe UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
    }
}

extension Data: PostgresCodable {
    /// The type `bytea`.
    public static var postgresType: PostgresType { .bytea }

    /// Writes the bytes.
    public func encode(into buffer: inout PostgresBuffer) { buffer.write(self) }

    /// Reads `bytea`.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> Data {
        guard type == .bytea else { throw PostgresDecodingFailure.typeMismatch }
        return Data(bytes.postgresBytes())
    }
}

extension Optional: PostgresEncodable where Wrapped: PostgresEncodable {
    /// The type of the wrapped value.
    public static var postgresType: PostgresType { Wrapped.postgresType }

    /// Writes the value, or NULL.
    public func encode(into buffer: inout PostgresBuffer) {
        if let self { self.encode(into: &buffer) } else { buffer.writeNull() }
    }
}

extension Optional: PostgresDecodable where Wrapped: PostgresDecodable {
    /// Reads the wrapped value.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> Wrapped? {
        try Wrapped.decode(bytes, type: type)
    }

    /// Returns nil.
    public static func decodeNull() throws -> Wrapped? { nil }
}
