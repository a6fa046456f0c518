/// SQL text with its parameters.
///
/// An interpolated value becomes a parameter, never a part of the text:
/// ```swift
/// let query: PostgresQuery = "SELECT name FROM app.users WHERE id = \(id) AND role = ANY(\(roles))"
/// ```
/// Equal texts share one prepared statement per connection.
public struct PostgresQuery: Hashable, Sendable, ExpressibleByStringInterpolation, CustomStringConvertible {
    /// The text, with `$1`, `$2`, … for the parameters.
    public let sql: String

    /// The parameters in order.
    public let bindings: PostgresBindings

    /// Makes a query from text and parameters.
    ///
    /// - Parameters:
    ///   - sql: Trusted text, with `$1`, `$2`, … for the parameters.
    ///   - bindings: The parameters in order.
    public init(unescaped sql: String, bindings: PostgresBindings = PostgresBindings()) {
        self.sql = sql
        self.bindings = bindings
    }

    /// Makes a query without parameters.
    ///
    /// - Parameter value: The text.
    public init(stringLiteral value: String) { self.init(unescaped: value) }

    /// Makes a query from an interpolated string.
    ///
    /// - Parameter stringInterpolation: The text and the parameters.
    public init(stringInterpolation: StringInterpolation) {
        self.init(unescaped: stringInterpolation.sql, bindings: stringInterpolation.bindings)
    }

    /// The text.
    ///
    /// It never shows parameters.
    public var description: String { sql }

    /// Collects text and parameters.
    public struct StringInterpolation: StringInterpolationProtocol, Sendable {
        var sql = ""
        var bindings = PostgresBindings()

        /// Makes an empty interpolation.
        ///
        /// The compiler calls it.
        ///
        /// - Parameters:
        ///   - literalCapacity: The length of the text.
        ///   - interpolationCount: The number of parameters.
        public init(literalCapacity: Int, interpolationCount: Int) {
            sql.reserveCapacity(literalCapacity + interpolationCount * 3)
        }

        /// Adds text of the program.
        ///
        /// - Parameter literal: The text.
        public mutating func appendLiteral(_ literal: String) { sql += literal }

        /// Adds a parameter.
        ///
        /// - Parameter value: The value.
        public mutating func appendInterpolation(_ value: some PostgresEncodable) {
            bindings.append(value)
            sql += "$\(bindings.count)"
        }

        /// Adds a parameter that may be NULL.
        ///
        /// This overload exists because the compiler warns of an optional in an interpolation that does not name it.
        ///
        /// - Parameter value: The value; nil for NULL.
        public mutating func appendInterpolation<Value: PostgresEncodable>(_ value: Value?) {
            bindings.append(value)
            sql += "$\(bindings.count)"
        }

        /// Adds text without escaping.
        ///
        /// Use it for names and fragments that the program itself wrote, never for input.
        ///
        /// - Parameter text: The text.
        public mutating func appendInterpolation(unescaped text: String) { sql += text }

        /// Adds a name, such as a table's or a channel's, in double quotes.
        ///
        /// - Parameter name: The name.
        public mutating func appendInterpolation(identifier name: String) { sql += quotedIdentifier(name) }
    }
}

/// Quotes a name with double quotes.
///
/// PostgreSQL reads code points. A quote with a combining mark is one `Character`, and would still end the name.
///
/// - Parameter name: The name. A query with a NUL in it is refused.
/// - Returns: The quoted name.
func quotedIdentifier(_ name: String) -> String {
    "\"" + String(name.unicodeScalars.replacing("\"".unicodeScalars, with: "\"\"".unicodeScalars)) + "\""
}

/// The encoded parameters of a query.
public struct PostgresBindings: Hashable, Sendable {
    private(set) var types: [PostgresType] = []
    /// Where each value ends in the buffer.
    private(set) var ends: [Int] = []
    private(set) var nulls: [Bool] = []
    private var buffer = PostgresBuffer()

    /// Makes a list without parameters.
    public init() {}

    /// The number of parameters.
    ///
    /// PostgreSQL allows 65,535.
    public var count: Int { types.count }

    /// The values, one after the other.
    var bytes: [UInt8] { buffer.bytes }

    /// Adds a parameter.
    ///
    /// - Parameter value: The value.
    public mutating func append<Value: PostgresEncodable>(_ value: Value) {
        value.encode(into: &buffer)
        types.append(Value.postgresType)
        ends.append(buffer.bytes.count)
        nulls.append(buffer.takeNull())
    }
}
