/// JSON as text.
///
/// This library does not parse or check it.
public struct PostgresJSON: Hashable, Sendable, PostgresArrayElement {
    /// The JSON text.
    public let text: String

    /// Makes a value from JSON text, which the server checks.
    ///
    /// - Parameter text: The JSON text.
    public init(text: String) { self.text = text }

    /// The type `jsonb`.
    public static var postgresType: PostgresType { .jsonb }

    /// The type `jsonb[]`.
    public static var postgresArrayType: PostgresType { .jsonbArray }

    /// The version of the binary format, the first byte of each value (`jsonb_send` in PostgreSQL's `jsonb.c`).
    private static let formatVersion: UInt8 = 1

    /// Writes the format's version and the text.
    public func encode(into buffer: inout PostgresBuffer) {
        buffer.write(Self.formatVersion)
        buffer.write(text.utf8)
    }

    /// Reads `jsonb` and `json`.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> PostgresJSON {
        switch type {
        case .json: return PostgresJSON(text: try bytes.postgresText())
        case .jsonb:
            guard try bytes.postgresInteger(as: UInt8.self) == formatVersion else {
                throw PostgresDecodingFailure.malformed
            }
            return PostgresJSON(text: try bytes.extracting(droppingFirst: 1).postgresText())
        default: throw PostgresDecodingFailure.typeMismatch
        }
    }
}
