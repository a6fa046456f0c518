/// A caller's request.
enum Request: Sendable {
    /// A query with parameters, by the extended protocol.
    case query(PostgresQuery)
    /// Text of one or several statements without parameters, by the simple protocol.
    case script(String)

    /// The text, for errors.
    var sql: String {
        switch self {
        case .query(let query): query.sql
        case .script(let text): text
        }
    }
}

/// Two queries with the same key share a prepared statement.
struct StatementKey: Hashable, Sendable {
    let sql: String
    let types: [PostgresType]
}

/// The steps of one request on a connection.
///
/// The connection may first make room for a prepared statement, then prepare it, then execute it. If the server no
/// longer has the prepared statement, or refuses it, the connection starts again once.
struct StatementPlan {
    /// One command for libpq.
    enum Step: Equatable {
        case simple(String)
        case unnamed
        case prepare(name: String)
        case execute(name: String)
    }

    /// What the connection does next.
    enum Action: Equatable {
        case send(Step)
        /// The request is complete, with the result of the last step.
        case complete
        /// Forget the prepared statement, then send.
        case forget(name: String, then: Step?)
        /// Remember the prepared statement, then send.
        case remember(name: String, then: Step)
    }

    private enum State {
        case start
        case deallocating
        case preparing(name: String)
        case executing(name: String?)
        case done
    }

    private var state = State.start
    private var wasRepeated = false

    /// Begins.
    ///
    /// - Parameters:
    ///   - request: The caller's request.
    ///   - prepared: The name of the statement that is prepared for it; nil if none is.
    ///   - cachesStatements: False through a pooler, where the next transaction may meet another session.
    ///   - newName: A name that was never used on this connection.
    ///   - evicted: The name of a statement that has to make room; nil if there is room.
    /// - Returns: The first step.
    mutating func start(
        _ request: Request,
        prepared: String?,
        cachesStatements: Bool,
        newName: String,
        evicted: String?
    ) -> Step {
        if case .script(let text) = request {
            state = .executing(name: nil)
            return .simple(text)
        }
        if !cachesStatements {
            state = .executing(name: nil)
            return .unnamed
        }
        if let prepared {
            state = .executing(name: prepared)
            return .execute(name: prepared)
        }
        if let evicted {
            state = .deallocating
            self.newName = newName
            return .simple("DEALLOCATE \(evicted)")
        }
        state = .preparing(name: newName)
        return .prepare(name: newName)
    }

    private var newName = ""

    /// Ends a step.
    ///
    /// - Parameters:
    ///   - error: The server's error; nil if the step succeeded.
    ///   - isInTransaction: Whether the session is in a transaction, failed or not, after the step.
    /// - Returns: What the connection does next.
    mutating func stepDone(error: SQLState?, isInTransaction: Bool) -> Action {
        switch state {
        case .deallocating:
            // The step fails in a failed transaction, for example. The name is never used again. The plan therefore
            // continues in both cases.
            state = .preparing(name: newName)
            return .send(.prepare(name: newName))
        case .preparing(let name):
            if error != nil {
                state = .done
                return .complete
            }
            state = .executing(name: name)
            return .remember(name: name, then: .execute(name: name))
        case .executing(let name):
            state = .done
            guard let name, let error, Self.isStale(error) else { return .complete }
            // Within a transaction, the error has failed the transaction, and repeating the statement cannot help. The
            // next call prepares the statement again.
            guard !isInTransaction, !wasRepeated else { return .forget(name: name, then: nil) }
            wasRepeated = true
            newName = name + "r"
            if error == .invalidStatementName {
                state = .preparing(name: newName)
                return .forget(name: name, then: .prepare(name: newName))
            }
            state = .deallocating
            return .forget(name: name, then: .simple("DEALLOCATE \(name)"))
        case .start, .done:
            return .complete
        }
    }

    /// Whether the server refuses a prepared statement that it had accepted.
    ///
    /// "cached plan must not change result type" is `0A000`. A statement that was deallocated is `26000`.
    private static func isStale(_ state: SQLState) -> Bool {
        state == .featureNotSupported || state == .invalidStatementName
    }
}
