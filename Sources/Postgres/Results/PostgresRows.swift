/// The rows that a query returned, and the number of rows that it affected.
///
/// A value is decoded when it is read. The rows keep libpq's result alive.
public struct PostgresRows: RandomAccessCollection, Sendable {
    let result: PostgresResult

    /// The columns, in order.
    public var columns: [PostgresColumn] { result.columns }

    /// How many rows an INSERT, UPDATE, DELETE or MERGE affected, or a SELECT returned.
    public var affectedRows: Int { result.affectedRows }

    /// The index of the first row.
    public var startIndex: Int { 0 }

    /// The index after the last row.
    public var endIndex: Int { result.rowCount }

    /// The row at an index.
    ///
    /// - Parameter position: The index.
    public subscript(position: Int) -> PostgresRow {
        precondition(indices.contains(position), "no such row")
        return PostgresRow(result: result, index: position)
    }

    /// Reads every row as a tuple of its first columns.
    ///
    /// - Parameter types: `(A, B, C).self`
    /// - Returns: A tuple for each row.
    /// - Throws: `PostgresError` with code `decoding`.
    public func decode<each Value: PostgresDecodable>(_ types: (repeat each Value).Type) throws -> [(repeat each Value)]
    {
        try map { try $0.decode(types) }
    }
}

/// One row of a result.
public struct PostgresRow: Sendable {
    let result: PostgresResult
    let index: Int

    /// The columns, in order.
    public var columns: [PostgresColumn] { result.columns }

    /// Reads a column by name.
    ///
    /// - Parameters:
    ///   - name: The column's name or alias. If several columns have it, the first one counts.
    ///   - type: The type to read it as.
    /// - Returns: The value.
    /// - Throws: `PostgresError` with code `decoding`, which names the column and both types but not the value.
    public func decode<Value: PostgresDecodable>(_ name: String, as type: Value.Type = Value.self) throws -> Value {
        guard let column = result.columns.firstIndex(where: { $0.name == name }) else {
            throw PostgresError(.decoding, "the result has no column \"\(name)\"")
        }
        return try result.decode(row: index, column: column, as: type)
    }

    /// Reads a column by index.
    ///
    /// - Parameters:
    ///   - position: The column's index, from 0.
    ///   - type: The type to read it as.
    /// - Returns: The value.
    /// - Throws: `PostgresError` with code `decoding`.
    public func decode<Value: PostgresDecodable>(_ position: Int, as type: Value.Type = Value.self) throws -> Value {
        guard result.columns.indices.contains(position) else {
            throw PostgresError(
                .decoding, "the result has \(result.columns.count) columns, and number \(position) was asked for")
        }
        return try result.decode(row: index, column: position, as: type)
    }

    /// Reads the first columns as a tuple.
    ///
    /// - Parameter types: `(A, B, C).self`
    /// - Returns: The tuple.
    /// - Throws: `PostgresError` with code `decoding`.
    public func decode<each Value: PostgresDecodable>(_ types: (repeat each Value).Type) throws -> (repeat each Value) {
        var position = 0
        func next<Next: PostgresDecodable>(_ type: Next.Type) throws -> Next {
            defer { position += 1 }
            return try decode(position, as: type)
        }
        return (repeat try next((each Value).self))
    }
}
