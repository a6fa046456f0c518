import Metrics
import Postgres
import Synchronization

/// The time that statements and waits for connections take.
///
/// A statement counts under the name of the first function of the schema in its text. The texts are those of the program: a
/// client cannot create a name.
final class DatabaseMetrics: PostgresObserver {
    private struct Statement: Sendable {
        let count: Counter
        let seconds: FloatingPointCounter
    }

    private let factory: any MetricsFactory
    private let wait: Metrics.Timer
    /// The statements that have run so far, by their texts: a statement looks its counters up, and reads no text again.
    private let known = Mutex<[String: Statement]>([:])
    /// The largest number of texts that are kept.
    private static let mostTexts = 1000

    init(factory: any MetricsFactory) {
        self.factory = factory
        wait = Metrics.Timer(label: "therapybridge_pool_wait_seconds", factory: factory)
    }

    func ran(_ sql: String, for duration: Duration) {
        let statement = statement(sql)
        statement.count.increment()
        statement.seconds.increment(by: duration / .seconds(1))
    }

    func waited(for duration: Duration) { wait.record(duration: duration) }

    private func statement(_ sql: String) -> Statement {
        if let statement = known.withLock({ $0[sql] }) { return statement }
        let dimensions = [("statement", Self.name(of: sql))]
        // Statements with one name share their series.
        let statement = Statement(
            count: Counter(
                label: "therapybridge_database_statements_total", dimensions: dimensions, factory: factory),
            seconds: FloatingPointCounter(
                label: "therapybridge_database_seconds_total", dimensions: dimensions, factory: factory))
        known.withLock { if $0.count < Self.mostTexts { $0[sql] = statement } }
        return statement
    }

    /// The name of a statement: that of the first function of the schema, `commit`, or `other`.
    static func name(of sql: String) -> String {
        if let match = sql.firstMatch(of: /\bapp\.([a-z][a-z0-9_]*)\(/) { return String(match.1) }
        return sql == "COMMIT" ? "commit" : "other"
    }
}
