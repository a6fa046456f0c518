import CLibPQ
import Polling
import Synchronization

/// Identifies one call of `perform` from before it is queued, so that a cancellation finds it at any time.
final class Ticket: Sendable {
    private let cancelled = Atomic(false)

    var isCancelled: Bool { cancelled.load(ordering: .acquiring) }

    func cancel() { cancelled.store(true, ordering: .releasing) }
}

/// Why a command is cancelled.
enum CancelReason: Equatable {
    /// Its deadline came.
    case deadline
    /// Its task was cancelled.
    case cancelled

    func error(_ command: Command) -> PostgresError {
        switch self {
        case .deadline:
            PostgresError(
                .deadlineExceeded, "the database did not answer in time", query: command.request.sql)
        case .cancelled: PostgresError(.cancelled, "the query was cancelled", query: command.request.sql)
        }
    }
}

/// A request on its way through a connection.
struct Command {
    let ticket: Ticket
    let request: Request
    let deadline: ContinuousClock.Instant?
    let continuation: CheckedContinuation<PostgresResult, any Error>
    /// The key of the prepared statement; nil for a script.
    let key: StatementKey?
    var timer: DeadlineID?
    var plan = StatementPlan()
    /// The last result of the present step.
    ///
    /// It is the error if there was one.
    var stepResult: PostgresResult?

    init(
        ticket: Ticket,
        request: Request,
        deadline: ContinuousClock.Instant?,
        continuation: CheckedContinuation<PostgresResult, any Error>
    ) {
        self.ticket = ticket
        self.request = request
        self.deadline = deadline
        self.continuation = continuation
        if case .query(let query) = request {
            key = StatementKey(sql: query.sql, types: query.bindings.types)
        } else {
            key = nil
        }
    }

    /// The outcome for the caller, after the last step.
    func outcome() -> Result<PostgresResult, any Error> {
        guard let result = stepResult else {
            return .failure(
                PostgresError(.protocolViolation, "the server sent no result", query: request.sql))
        }
        if let fields = result.serverFields {
            return .failure(
                PostgresError(.server, "the database refused the statement", server: fields, query: request.sql))
        }
        if result.isFailure {
            // An error of libpq itself, such as a result that does not fit into memory.
            return .failure(PostgresError(.protocolViolation, "libpq: \(result.message)", query: request.sql))
        }
        return .success(result)
    }
}

/// The condition of a connection, which any thread can read.
///
/// The pool takes most connections back without a trip to their thread.
final class ConnectionHealth: Sendable {
    enum Condition: UInt8 {
        /// Outside of a transaction.
        case clean
        /// In a transaction, failed or not.
        case inTransaction
        /// A cancelled command is being drained.
        case unsettled
        /// Closed.
        case closed
    }

    private let condition = Atomic<UInt8>(Condition.clean.rawValue)
    private let underWay = Atomic<Int>(0)

    func set(_ new: Condition) { condition.store(new.rawValue, ordering: .releasing) }
    func commandBegins() { underWay.wrappingAdd(1, ordering: .acquiringAndReleasing) }
    func commandEnds() { underWay.wrappingSubtract(1, ordering: .acquiringAndReleasing) }

    /// The condition; `unsettled` while any command is under way.
    var current: Condition {
        let value = Condition(rawValue: condition.load(ordering: .acquiring)) ?? .unsettled
        if value != .closed, underWay.load(ordering: .acquiring) > 0 { return .unsettled }
        return value
    }
}

extension PostgresResult {
    var isCopy: Bool {
        [PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH].contains(status)
    }

    var isFailure: Bool {
        ![PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_SINGLE_TUPLE, PGRES_EMPTY_QUERY].contains(status)
    }
}

/// libpq's message about a connection that failed.
///
/// It holds the SQLSTATE, because the library asks for verbosity.
struct ConnectMessage {
    let sqlState: SQLState?
    let text: String

    /// Reads a message such as `connection to server at "127.0.0.1", port 5432 failed: FATAL:  28P01: password …`.
    init(_ message: String) {
        var lines = message.split(separator: "\n").map(String.init)
        lines.removeAll { $0.hasPrefix("LOCATION:") }
        var text = lines.joined(separator: "; ")
        var state: SQLState?
        // The severity before the code is localised. The code is therefore found by its shape. Every code has a digit,
        // unlike a severity of five letters such as FATAL.
        if let match = text.firstMatch(of: #/: {1,2}(?=[A-Z]*[0-9])([0-9A-Z]{5}): /#) {
            state = SQLState(String(match.1))
            text.replaceSubrange(match.range, with: ": ")
        }
        self.sqlState = state
        self.text = text
    }

    var error: PostgresError {
        PostgresError(
            .connection, "cannot connect to the database: \(text)",
            server: sqlState.map { PostgresError.ServerFields(sqlState: $0, message: text) })
    }
}
