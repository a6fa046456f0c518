public import App
public import Postgres

extension DatabaseTimeouts {
    /// As long as a busy machine may take.
    public static var patient: DatabaseTimeouts {
        var timeouts = DatabaseTimeouts()
        timeouts.connect = .seconds(60)
        timeouts.lease = .seconds(60)
        timeouts.query = .seconds(120)
        return timeouts
    }

    /// The server's own: where the database is away, a test that waits for word of that is over sooner.
    public static var impatient: DatabaseTimeouts { DatabaseTimeouts() }
}

extension PostgresConfiguration {
    /// That of a test's own connection, which is not what the test is about: it waits as long as a busy machine takes.
    public static func patient(_ connectionString: String) throws -> PostgresConfiguration {
        try PostgresConfiguration(
            connectionString: connectionString, connectTimeout: .seconds(600), queryTimeout: .seconds(600),
            statementTimeout: .seconds(600))
    }
}
