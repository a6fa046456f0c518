/// Anything that went wrong between this program and PostgreSQL.
///
/// `description` may be shown and logged: it holds codes and names, never a value, a server's message or SQL text.
/// `debugDescription` has all of it.
public struct PostgresError: Error, Sendable, CustomStringConvertible, CustomDebugStringConvertible {
    /// What a transaction adds to the error of a statement.
    public enum TransactionFailure: Hashable, Sendable {
        /// The body failed, and the ROLLBACK after it too; `underlying` holds both, the body's first.
        case rollbackFailed
        /// A statement had failed and the body went on, so COMMIT rolled back.
        case commitRefused
        /// The connection was lost, or the time was over, during COMMIT: it may or may not have happened.
        case commitOutcomeUnknown
    }

    /// The kind of trouble.
    public enum Code: Hashable, Sendable {
        /// The server answered with an error; see `sqlState`.
        case server
        /// The connection could not be made, or was lost.
        case connection
        /// The time for the query, or for connecting, was over.
        case deadlineExceeded
        /// The task was cancelled.
        case cancelled
        /// No connection came free in time, or too many wait already.
        case poolExhausted
        /// The pool is shut down.
        case poolClosed
        /// A column could not be read as the type that was asked for.
        case decoding
        /// A setting is wrong.
        case configuration
        /// Something that cannot be done here, such as COPY, or a misuse of a connection.
        case protocolViolation
        /// A transaction failed in a way of its own.
        case transaction(TransactionFailure)
    }

    /// What PostgreSQL says about an error of its own.
    public struct ServerFields: Hashable, Sendable {
        /// The kind of error.
        public var sqlState: SQLState
        /// The server's message, which may hold values.
        public var message: String
        /// More about it, which often holds values.
        public var detail: String?
        /// What might help.
        public var hint: String?
        /// Where in PL/pgSQL it happened.
        public var context: String?
        /// The table's schema.
        public var schemaName: String?
        /// The table.
        public var tableName: String?
        /// The column.
        public var columnName: String?
        /// The constraint.
        public var constraintName: String?
    }

    private final class Storage: Sendable {
        let code: Code
        let message: String
        let server: ServerFields?
        let underlying: [any Error]
        let query: String?

        init(code: Code, message: String, server: ServerFields?, underlying: [any Error], query: String?) {
            self.code = code
            self.message = message
            self.server = server
            self.underlying = underlying
            self.query = query
        }
    }

    private let storage: Storage

    init(
        _ code: Code,
        _ message: String,
        server: ServerFields? = nil,
        underlying: [any Error] = [],
        query: String? = nil
    ) {
        storage = Storage(code: code, message: message, server: server, underlying: underlying, query: query)
    }

    /// The kind of trouble.
    public var code: Code { storage.code }

    /// The server's own account of it, when it came from the server.
    public var server: ServerFields? { storage.server }

    /// What caused this error, in order; both causes when two things failed.
    public var underlying: [any Error] { storage.underlying }

    /// The server's code for it: this error's, or the first that is found among its causes.
    public var sqlState: SQLState? {
        if let state = storage.server?.sqlState { return state }
        for case let cause as PostgresError in underlying {
            if let state = cause.sqlState { return state }
        }
        return nil
    }

    /// The constraint that was violated: this error's, or the first that is found among its causes.
    public var constraintName: String? {
        if let name = storage.server?.constraintName { return name }
        for case let cause as PostgresError in underlying {
            if let name = cause.constraintName { return name }
        }
        return nil
    }

    /// Whether the database could not answer in time, but may a little later: what HTTP answers with 503.
    ///
    /// A transaction whose outcome is unknown counts, although repeating it blindly may do it twice.
    public var isTransient: Bool {
        switch code {
        case .connection: storage.server.map { !$0.sqlState.isPermanentForConnecting } ?? true
        case .deadlineExceeded, .poolExhausted, .poolClosed: true
        case .server: storage.server?.sqlState.isTransient ?? false
        case .transaction(.commitOutcomeUnknown): true
        case .transaction(.rollbackFailed): (underlying.first as? PostgresError)?.isTransient ?? false
        case .transaction(.commitRefused), .cancelled, .decoding, .configuration, .protocolViolation: false
        }
    }

    /// One line that is safe to show and to log.
    public var description: String {
        var text = storage.message
        if let server = storage.server {
            text += " (SQLSTATE \(server.sqlState)"
            if let name = server.constraintName { text += ", constraint \(name)" }
            if let name = server.tableName { text += ", table \(name)" }
            text += ")"
        }
        if !underlying.isEmpty {
            // A cause from elsewhere may hold anything, so only its type is named.
            let causes = underlying.map { ($0 as? PostgresError)?.description ?? "\(type(of: $0))" }
            text += ": " + causes.joined(separator: "; ")
        }
        return text
    }

    /// Everything, with the server's message and the SQL text; for a developer's eyes.
    public var debugDescription: String {
        var text = "PostgresError(\(code)): \(storage.message)"
        if let server = storage.server {
            text += "\n  \(server.sqlState): \(server.message)"
            let fields = [
                ("detail", server.detail), ("hint", server.hint), ("context", server.context),
                ("schema", server.schemaName), ("table", server.tableName), ("column", server.columnName),
                ("constraint", server.constraintName),
            ]
            for case (let label, let value?) in fields { text += "\n  \(label): \(value)" }
        }
        if let query = storage.query { text += "\n  query: \(query)" }
        for cause in underlying { text += "\n  cause: \(String(reflecting: cause))" }
        return text
    }
}

extension PostgresError {
    /// This error with the query that met it.
    func adding(query: String) -> PostgresError {
        PostgresError(
            code, storage.message, server: storage.server, underlying: underlying, query: storage.query ?? query)
    }
}
