/// SQL text with its parameters.
///
/// Whatever is interpolated becomes a parameter, never a part of the text:
/// ```swift
/// let query: PostgresQuery = "SELECT name FROM app.users WHERE id = \(id) AND role = ANY(\(roles))"
/// ```
/// Equal texts share one prepared statement per connection.
public struct PostgresQuery: Hashable, Sendable, ExpressibleByStringInterpolation, CustomStringConvertible {
    /// The text, with `$1`, `$2`, … where parameters stand.
    public let sql: String

    /// The parameters in order.
    public let bindings: PostgresBindings

    /// Makes a query from text and parameters.
    ///
    /// - Parameters:
    ///   - sql: trusted text, with `$1`, `$2`, … where parameters stand.
    ///   - bindings: the parameters in order.
    public init(unescaped sql: String, bindings: PostgresBindings = PostgresBindings()) {
        self.sql = sql
        self.bindings = bindings
    }

    /// Makes a query without parameters.
    public init(stringLiteral value: String) { self.init(unescaped: value) }

    /// Makes a query from interpolation.
    public init(stringInterpolation: StringInterpolation) {
        self.init(unescaped: stringInterpolation.sql, bindings: stringInterpolation.bindings)
    }

    /// The text; parameters are never shown.
    public var description: String { sql }

    /// Gathers text and parameters.
    public struct StringInterpolation: StringInterpolationProtocol, Sendable {
        var sql = ""
        var bindings = PostgresBindings()

        /// Called by the compiler.
        public init(literalCapacity: Int, interpolationCount: Int) {
            sql.reserveCapacity(literalCapacity + interpolationCount * 3)
        }

        /// Adds text of the program.
        public mutating func appendLiteral(_ literal: String) { sql += literal }

        /// Adds a parameter.
        public mutating func appendInterpolation(_ value: some PostgresEncodable) {
            bindings.append(value)
            sql += "$\(bindings.count)"
        }

        /// Adds a parameter that may be NULL.
        ///
        /// An overload of its own, since the compiler warns of an optional in an interpolation that does not name it.
        public mutating func appendInterpolation<Value: PostgresEncodable>(_ value: Value?) {
            bindings.append(value)
            sql += "$\(bindings.count)"
        }

        /// Adds text that is not escaped: for names and fragments that the program itself wrote, never for input.
        public mutating func appendInterpolation(unescaped text: String) { sql += text }

        /// Adds a name, such as a table's or a channel's, in double quotes.
        public mutating func appendInterpolation(identifier name: String) { sql += quotedIdentifier(name) }
    }
}

/// A name in double quotes, with those inside doubled.
///
/// - Parameter name: the name; a NUL in it is refused when the query is run.
/// - Returns: the quoted name.
func quotedIdentifier(_ name: String) -> String {
    "\"" + name.replacing("\"", with: "\"\"") + "\""
}

/// The parameters of a query, encoded.
public struct PostgresBindings: Hashable, Sendable {
    private(set) var types: [PostgresType] = []
    /// Where each value ends in the buffer, and whether it is NULL.
    private(set) var ends: [Int] = []
    private(set) var nulls: [Bool] = []
    private var buffer = PostgresBuffer()

    /// No parameters.
    public init() {}

    /// How many there are; PostgreSQL allows 65,535.
    public var count: Int { types.count }

    /// The values, one after the other.
    var bytes: [UInt8] { buffer.bytes }

    /// Adds a parameter.
    public mutating func append<Value: PostgresEncodable>(_ value: Value) {
        value.encode(into: &buffer)
        types.append(Value.postgresType)
        ends.append(buffer.bytes.count)
        nulls.append(buffer.takeNull())
    }
}
