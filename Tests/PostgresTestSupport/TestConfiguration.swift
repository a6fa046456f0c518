public import Postgres
import TestSupport

extension PostgresConfiguration {
    /// The configuration of a test's own connection.
    public static func forTests(_ connectionString: String) throws -> PostgresConfiguration {
        var configuration = try PostgresConfiguration(
            connectionString: connectionString, connectTimeout: TestDeadline.event, queryTimeout: TestDeadline.event,
            statementTimeout: TestDeadline.event)
        // The settings of the roles are for real programs. A test on a loaded machine holds and awaits locks for longer.
        configuration.sessionSettings["lock_timeout"] = "0"
        configuration.sessionSettings["idle_in_transaction_session_timeout"] = "0"
        configuration.sessionSettings["idle_session_timeout"] = "0"
        return configuration
    }
}
