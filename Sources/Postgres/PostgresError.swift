/// An error between this program and PostgreSQL.
///
/// `description` is safe to show and to log: it has codes and names, and the server's message where that can hold no value
/// of a statement. It has no values and no SQL text. `debugDescription` has everything.
public struct PostgresError: Error, Sendable, CustomStringConvertible, CustomDebugStringConvertible {
    /// How a transaction failed, apart from the error of a statement.
    public enum TransactionFailure: Hashable, Sendable {
        /// The body failed, and the ROLLBACK after it failed too.
        ///
        /// `underlying` has both errors, the body's first.
        case rollbackFailed
        /// A statement had failed, and the body continued. COMMIT therefore rolled back.
        case commitRefused
        /// The connection or the time ended during COMMIT.
        ///
        /// The transaction may be committed or not.
        case commitOutcomeUnknown
    }

    /// The kind of error.
    public enum Code: Hashable, Sendable {
        /// The server answered with an error.
        ///
        /// See `sqlState`.
        case server
        /// The connection failed or was lost.
        case connection
        /// The time for the query, or for connecting, was over.
        case deadlineExceeded
        /// The task was cancelled.
        case cancelled
        /// No connection was free in time, or too many callers wait.
        case poolExhausted
        /// Too many callers of the pool already contend for the same lock of the database.
        case contended
        /// The pool is shut down.
        case poolClosed
        /// A column cannot be read as the type that the caller asked for.
        case decoding
        /// A setting is wrong.
        case configuration
        /// An operation that this library does not support, such as COPY, or a misuse of a connection.
        case protocolViolation
        /// The transaction failed, apart from the error of a statement.
        case transaction(TransactionFailure)
    }

    /// The server's description of an error.
    public struct ServerFields: Hashable, Sendable {
        /// The kind of error.
        public var sqlState: SQLState
        /// The server's message, which may hold values.
        public var message: String
        /// Details, which often hold values.
        public var detail: String?
        /// A suggestion.
        public var hint: String?
        /// The place in PL/pgSQL.
        public var context: String?
        /// The table's schema.
        public var schemaName: String?
        /// The table.
        public var tableName: String?
        /// The column.
        public var columnName: String?
        /// The constraint.
        public var constraintName: String?

        /// The message and the hint, if they name only objects of the database and states of the server.
        ///
        /// Nil for the message of any other error: it may quote a value, such as a patient's words. An error with the name of
        /// a constraint is about a row, or one of the schema's own refusals.
        public var safeMessage: String? {
            guard constraintName == nil, sqlState.isFreeOfValues else { return nil }
            return [message, hint].compactMap(\.self).joined(separator: ". ")
        }

        /// True if the server has no room in its queue of notifications.
        ///
        /// "If this queue becomes full, transactions calling NOTIFY will fail at commit" (manual, NOTIFY). SQLSTATE 54000 alone
        /// does not tell: a value that is too large has it too. The server translates its messages, but `NOTIFY` is a word of
        /// SQL, which stands in every translation.
        var isNotificationQueueFull: Bool { sqlState == .programLimitExceeded && message.contains("NOTIFY") }
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

    /// The kind of error.
    public var code: Code { storage.code }

    /// The server's description of the error; nil if the error is not the server's.
    public var server: ServerFields? { storage.server }

    /// The causes of this error, in order.
    ///
    /// If two things failed, both are here.
    public var underlying: [any Error] { storage.underlying }

    /// The server's code for this error, or the first one among its causes.
    public var sqlState: SQLState? {
        if let state = storage.server?.sqlState { return state }
        for case let cause as PostgresError in underlying {
            if let state = cause.sqlState { return state }
        }
        return nil
    }

    /// The constraint that this error violated, or the first one among its causes.
    public var constraintName: String? {
        if let name = storage.server?.constraintName { return name }
        for case let cause as PostgresError in underlying {
            if let name = cause.constraintName { return name }
        }
        return nil
    }

    /// Whether the database may answer a little later.
    ///
    /// HTTP then answers 503.
    ///
    /// A transaction with an unknown outcome counts, although to repeat it may do it twice.
    public var isTransient: Bool {
        switch code {
        case .connection: storage.server.map { !$0.sqlState.isPermanentForConnecting } ?? true
        case .deadlineExceeded, .poolExhausted, .contended, .poolClosed: true
        case .server: storage.server.map { $0.sqlState.isTransient || $0.isNotificationQueueFull } ?? false
        case .transaction(.commitOutcomeUnknown): true
        case .transaction(.rollbackFailed): (underlying.first as? PostgresError)?.isTransient ?? false
        case .transaction(.commitRefused), .cancelled, .decoding, .configuration, .protocolViolation: false
        }
    }

    /// Whether a prepared statement is there twice, or is missing.
    ///
    /// A transaction-mode pooler gives the connections of a server to its clients in turn. A client that does not know of the pooler
    /// then meets the statements of others.
    public var isOfUnnamedPooler: Bool { sqlState == .duplicateStatementName || sqlState == .invalidStatementName }

    /// Whether the server has no room in its queue of notifications, or the first cause says so.
    ///
    /// That passes when the slowest listener of the cluster has read its notifications. Until then no transaction that notifies
    /// can commit.
    public var isNotificationQueueFull: Bool {
        if let server = storage.server { return server.isNotificationQueueFull }
        return (underlying.first as? PostgresError)?.isNotificationQueueFull ?? false
    }

    /// One line that is safe to show and to log.
    public var description: String {
        var text = storage.message
        if let server = storage.server {
            // The message of a failed connection stands in the error's own.
            if let words = server.safeMessage, !text.contains(words) { text += ": \(words)" }
            text += " (SQLSTATE \(server.sqlState)"
            if let name = server.constraintName { text += ", constraint \(name)" }
            if let name = server.tableName { text += ", table \(name)" }
            text += ")"
        }
        if !underlying.isEmpty {
            // A cause from another module may contain anything. Only its type is named.
            let causes = underlying.map { ($0 as? PostgresError)?.description ?? "\(type(of: $0))" }
            text += ": " + causes.joined(separator: "; ")
        }
        return text
    }

    /// Everything, with the server's message and the SQL text, for developers.
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
    /// Returns this error with the query that met it.
    func adding(query: String) -> PostgresError {
        PostgresError(
            code, storage.message, server: storage.server, underlying: underlying, query: storage.query ?? query)
    }
}
