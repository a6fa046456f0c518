public import Postgres

extension PostgresConfiguration {
    /// That of a test's own connection, which is not what the test is about: it waits as long as a busy machine takes.
    public static func patient(_ connectionString: String) throws -> PostgresConfiguration {
        try PostgresConfiguration(
            connectionString: connectionString, connectTimeout: .seconds(600), queryTimeout: .seconds(600),
            statementTimeout: .seconds(600))
    }
}
