public import Postgres
import TestSupport

extension PostgresConfiguration {
    /// The configuration of a test's own connection.
    public static func forTests(_ connectionString: String) throws -> PostgresConfiguration {
        try PostgresConfiguration(
            connectionString: connectionString, connectTimeout: TestDeadline.event, queryTimeout: TestDeadline.event,
            statementTimeout: TestDeadline.event)
    }
}
