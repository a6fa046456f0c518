package import Logging
package import Postgres
public import SettingsReading

/// Which database a server uses, and how.
public struct DatabaseSettings: Sendable {
    /// Where queries go.
    private let server: PostgresConfiguration
    /// Where the listening connection goes, which no pooler may carry.
    private let direct: PostgresConfiguration
    /// The most connections for queries.
    public let poolSize: Int
    /// How long the server waits for the database.
    public var timeouts = DatabaseTimeouts()

    /// Reads the group.
    ///
    /// - Throws: ``SettingError`` for the first setting that is missing or bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group(Self.title)
        var server = try reader.required(
            "DATABASE_URL", form: Self.form, "The database, as the server's role, `therapybridge_server`.",
            Self.connection)
        direct =
            try reader.value(
                "DATABASE_LISTEN_URL", form: Self.form, absent: "`DATABASE_URL`",
                "A direct connection for `LISTEN`, which a transaction-mode pooler does not carry.", Self.connection)
            ?? server
        server.pooler = try reader.choice(
            "DATABASE_POOLER", ["off": .off, "transaction": .transaction], default: "off",
            "`transaction` when `DATABASE_URL` goes through a transaction-mode pooler.")
        self.server = server
        poolSize = try reader.integer(
            "DATABASE_POOL_SIZE", in: 1...1000, default: 8,
            "The most connections for queries. The listening connection comes on top.")
    }

    fileprivate static let title = "Database"
    fileprivate static let form = "a libpq connection string (PostgreSQL manual, 34.1.1)"

    fileprivate static func connection(_ text: String) -> PostgresConfiguration? {
        try? PostgresConfiguration(connectionString: text)
    }

    /// What each connection of the server is set to; not through a pooler.
    ///
    /// `jit`: compiling a statement takes many times longer than running any statement of the server. PostgreSQL compiles
    /// when it expects a statement to be expensive, and its estimates for young tables are far too high.
    private static let session = ["jit": "off"]

    /// The connections for queries, which `pg_stat_activity` shows under a name.
    package func queries(name: String, logger: Logger) -> PostgresConfiguration {
        var configuration = server
        configuration.applicationName = name
        configuration.connectTimeout = timeouts.connect
        configuration.queryTimeout = timeouts.query
        configuration.sessionSettings = Self.session
        configuration.logger = logger
        return configuration
    }

    /// The listening connection.
    package func listener(logger: Logger) -> PostgresConfiguration {
        var configuration = direct
        configuration.applicationName = "therapybridge listener"
        configuration.sessionSettings = Self.session
        configuration.logger = logger
        return configuration
    }

    /// The size of the pool, and how long a query waits for one of its connections.
    package var pool: PostgresPoolConfiguration {
        PostgresPoolConfiguration(size: poolSize, waitTimeout: timeouts.borrow)
    }
}

/// How long the server waits for its database until it answers that it is not there (503).
///
/// These are no settings: a user does not wait for longer, however slow a database is.
public struct DatabaseTimeouts: Sendable {
    /// For a connection to be made.
    public var connect = Duration.seconds(5)
    /// For one of the pool's connections to be free.
    public var lease = Duration.seconds(5)
    /// For an answer.
    public var query = Duration.seconds(10)

    /// The timeouts of a server.
    public init() {}
}

/// Which database operators' commands use.
public struct OperatorDatabaseSettings: Sendable {
    private let server: PostgresConfiguration

    /// Reads the group.
    ///
    /// - Throws: ``SettingError`` when the setting is missing or bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        server = try reader.group(DatabaseSettings.title).required(
            "DATABASE_MIGRATE_URL", form: DatabaseSettings.form,
            "The database, as a member of `therapybridge_owner`: for `migrate`, `user`, `assign`, `unassign`, `token` and "
                + "`audit` alone. The first `migrate up` also needs CREATEROLE.", DatabaseSettings.connection)
    }

    /// The connections of an operator's command.
    func queries(logger: Logger) -> PostgresConfiguration {
        var configuration = server
        configuration.applicationName = "therapybridge operations"
        configuration.logger = logger
        return configuration
    }
}
