/// What a caller wants done in one go.
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

/// What makes two queries share a prepared statement.
struct StatementKey: Hashable, Sendable {
    let sql: String
    let types: [PostgresType]
}

/// The steps that one request takes on a connection: perhaps room is made, perhaps a statement is prepared, then it is
/// executed, and once more from the start when the server no longer knows, or no longer likes, the prepared statement.
struct StatementPlan {
    /// One command for libpq.
    enum Step: Equatable {
        case simple(String)
        case unnamed
        case prepare(name: String)
        case execute(name: String)
    }

    /// What is to be done.
    enum Action: Equatable {
        case send(Step)
        /// The request is complete, with what the last step brought.
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
    ///   - request: what to do.
    ///   - prepared: the name of a statement that is prepared for it.
    ///   - cachesStatements: false through a pooler, where the next transaction may meet another session.
    ///   - newName: a name that was never used on this connection.
    ///   - evicted: the name of a statement that has to make room.
    /// - Returns: the first step.
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

    /// A step is done.
    ///
    /// - Parameters:
    ///   - error: the server's error, if it was one.
    ///   - isInTransaction: whether the session is in a transaction, failed or not, after the step.
    /// - Returns: what comes next.
    mutating func stepDone(error: SQLState?, isInTransaction: Bool) -> Action {
        switch state {
        case .deallocating:
            // Whether room was made or not (a failed transaction takes no DEALLOCATE): the name is never used again.
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
            // Within a transaction the error has failed it, and repeating cannot help; the next time it is prepared anew.
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

    /// "cached plan must not change result type" is `0A000`; a statement that someone deallocated is `26000`.
    private static func isStale(_ state: SQLState) -> Bool {
        state == .featureNotSupported || state == .invalidStatementName
    }
}
