/// A type of another module that the database keeps as one of the types of this module.
///
/// ```swift
/// extension PatientID: PostgresRepresentable, PostgresArrayElement {
///     public init(postgresValue: UUID) { self.init(postgresValue) }
///     public var postgresValue: UUID { uuid }
/// }
/// ```
public protocol PostgresRepresentable: PostgresCodable {
    /// The type in the database.
    associatedtype PostgresValue: PostgresCodable

    /// Makes a value from the database's.
    ///
    /// Fails if the database's value is malformed.
    ///
    /// - Parameter postgresValue: The database's value.
    init?(postgresValue: PostgresValue)

    /// The value for the database.
    var postgresValue: PostgresValue { get }
}

extension PostgresRepresentable {
    /// The type of the database's value.
    public static var postgresType: PostgresType { PostgresValue.postgresType }

    /// Writes the database's value.
    public func encode(into buffer: inout PostgresBuffer) { postgresValue.encode(into: &buffer) }

    /// Reads the database's value and makes a value from it.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> Self {
        guard let value = Self(postgresValue: try PostgresValue.decode(bytes, type: type)) else {
            throw PostgresDecodingFailure.malformed
        }
        return value
    }
}

extension PostgresRepresentable where PostgresValue: PostgresArrayElement {
    /// The array type of the database's value.
    public static var postgresArrayType: PostgresType { PostgresValue.postgresArrayType }
}
