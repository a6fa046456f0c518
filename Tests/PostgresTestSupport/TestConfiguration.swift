public import Postgres
import TestSupport

extension PostgresConfiguration {
    /// That of a connection of the test itself.
    public static func forTests(_ connectionString: String) throws -> PostgresConfiguration {
        try PostgresConfiguration(
            connectionString: connectionString, connectTimeout: TestDeadline.event, queryTimeout: TestDeadline.event,
            statementTimeout: TestDeadline.event)
    }
}
