import CLibPQ

/// A column of a result.
public struct PostgresColumn: Hashable, Sendable {
    /// The name or alias.
    public let name: String
    /// The type.
    public let type: PostgresType
}

/// One result of libpq, which is freed with the last row that refers to it.
@safe final class PostgresResult: Sendable {
    /// The result of libpq.
    ///
    /// Threads may share it, because it never changes. The manual, 34.20: "PGresult objects are normally read-only
    /// after creation, and so can be passed around freely between threads."
    private nonisolated(unsafe) let handle: OpaquePointer

    let columns: [PostgresColumn]
    let rowCount: Int
    private let isBinary: Bool

    /// Takes a result over.
    ///
    /// - Parameter handle: The result. Nothing else frees it.
    init(owning handle: OpaquePointer) {
        unsafe self.handle = handle
        rowCount = Int(unsafe PQntuples(handle))
        columns = (0..<(unsafe PQnfields(handle))).map { index in
            // The columns of a COPY have no names, and PQfname returns NULL for them.
            PostgresColumn(
                name: unsafe PQfname(handle, index).map { unsafe String(cString: $0) } ?? "",
                type: PostgresType(oid: unsafe PQftype(handle, index)))
        }
        isBinary = unsafe PQbinaryTuples(handle) != 0
    }

    deinit { unsafe PQclear(handle) }

    var status: ExecStatusType { unsafe PQresultStatus(handle) }

    /// How many rows an INSERT, UPDATE, DELETE, MERGE or SELECT affected; 0 for other commands.
    var affectedRows: Int { Int(unsafe String(cString: PQcmdTuples(handle))) ?? 0 }

    /// The command's tag, such as `COMMIT`.
    var commandTag: String { unsafe String(cString: PQcmdStatus(handle)) }

    /// The server's error; nil if this result is not an error of the server.
    var serverFields: PostgresError.ServerFields? {
        guard let state = field(clibpq_diag_sqlstate) else { return nil }
        return PostgresError.ServerFields(
            sqlState: SQLState(state),
            message: field(clibpq_diag_message) ?? "",
            detail: field(clibpq_diag_detail),
            hint: field(clibpq_diag_hint),
            context: field(clibpq_diag_context),
            schemaName: field(clibpq_diag_schema),
            tableName: field(clibpq_diag_table),
            columnName: field(clibpq_diag_column),
            constraintName: field(clibpq_diag_constraint)
        )
    }

    /// libpq's message for an error that is not the server's.
    var message: String { unsafe trimmedMessage(unsafe PQresultErrorMessage(handle)) }

    private func field(_ code: CInt) -> String? {
        guard let text = unsafe PQresultErrorField(handle, code) else { return nil }
        return unsafe String(cString: text)
    }

    /// Reads one value.
    ///
    /// - Precondition: The row and the column are in range.
    func decode<Value: PostgresDecodable>(row: Int, column: Int, as _: Value.Type) throws -> Value {
        precondition(row >= 0 && row < rowCount && column >= 0 && column < columns.count, "no such row or column")
        let (row, index) = (CInt(row), CInt(column))
        do {
            if unsafe PQgetisnull(handle, row, index) != 0 { return try Value.decodeNull() }
            let length = Int(unsafe PQgetlength(handle, row, index))
            // The bytes stay valid as long as the result, which `self` keeps alive during the call.
            let bytes = unsafe UnsafeRawBufferPointer(start: PQgetvalue(handle, row, index), count: length)
            // Text format comes from the simple protocol, whose results nothing reads.
            let type = isBinary ? columns[column].type : .text
            return try withExtendedLifetime(self) { try unsafe Value.decode(bytes.bytes, type: type) }
        } catch {
            throw decodingError(error, column: columns[column], as: Value.self)
        }
    }

    private func decodingError(_ cause: any Error, column: PostgresColumn, as type: Any.Type) -> PostgresError {
        let reason =
            switch cause as? PostgresDecodingFailure {
            case .typeMismatch: "the types do not match"
            case .unexpectedNull: "it is NULL"
            case .outOfRange: "the value is out of range"
            case .malformed: "the value is malformed"
            case nil: "decoding failed"
            }
        return PostgresError(
            .decoding, "cannot read column \"\(column.name)\" of type \(column.type) as \(type): \(reason)",
            underlying: cause is PostgresDecodingFailure ? [] : [cause])
    }
}

/// A message of libpq without the line feed at its end.
func trimmedMessage(_ text: UnsafePointer<CChar>?) -> String {
    guard let text = unsafe text else { return "" }
    var message = unsafe String(cString: text)
    while message.last?.isWhitespace == true { message.removeLast() }
    return message
}
