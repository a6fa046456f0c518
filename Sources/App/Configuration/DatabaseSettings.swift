import DurationUnits
package import Logging
package import Postgres
public import SettingsReading

/// Where a process learns of changes.
enum ChangeSourceKind: Sendable {
    /// From PostgreSQL's NOTIFY, with the poll behind it.
    case notify
    /// From the poll alone.
    case poll
}

/// The database that a server uses, and how the server uses it.
public struct DatabaseSettings: Sendable {
    /// The database for queries.
    private let server: PostgresConfiguration
    /// The database for the listener.
    ///
    /// No pooler can carry `LISTEN`.
    private let direct: PostgresConfiguration
    /// Where hints of changes come from.
    let changeSource: ChangeSourceKind
    /// True if there is a listener with a connection string of its own.
    let listensElsewhere: Bool
    /// The most connections for queries.
    public let poolSize: Int
    /// How long the server waits for the database.
    public var timeouts = DatabaseTimeouts()

    /// Reads the group.
    ///
    /// - Throws: ``SettingError`` for the first setting that is missing or bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group(Self.title)
        let url = try reader.required(
            "DATABASE_URL", form: Self.form, "The database, as the server's role, `therapybridge_server`."
        ) { $0 }
        var server = try Self.connection(url, of: "DATABASE_URL")
        let listenURL = reader.text(
            "DATABASE_LISTEN_URL", form: Self.form, absent: "`DATABASE_URL`",
            "A direct connection for `LISTEN`, which a transaction-mode pooler does not carry.")
        direct = if let listenURL { try Self.connection(listenURL, of: "DATABASE_LISTEN_URL") } else { server }
        changeSource = try reader.choice(
            "CHANGE_SOURCE", ["notify": .notify, "poll": .poll], default: "notify",
            "`poll`: no `LISTEN`. Streams, workers and webhooks look for changes every `SSE_UPDATE_INTERVAL`.")
        listensElsewhere = listenURL != nil && changeSource == .notify
        server.pooler = try reader.choice(
            "DATABASE_POOLER", ["off": .off, "transaction": .transaction], default: "off",
            "`transaction` when `DATABASE_URL` goes through a transaction-mode pooler.")
        self.server = server
        poolSize = try reader.integer(
            "DATABASE_POOL_SIZE", in: 1...1000, default: 8,
            "The most connections for queries. The listener has one more.")
    }

    fileprivate static let title = "Database"
    fileprivate static let form = "a libpq connection string (PostgreSQL manual, 34.1.1)"

    /// Reads a connection string.
    ///
    /// - Throws: ``SettingError`` that names the fault, and holds no piece of the string.
    fileprivate static func connection(_ text: String, of name: String) throws(SettingError) -> PostgresConfiguration {
        do {
            return try PostgresConfiguration(connectionString: text)
        } catch {
            throw SettingError(name, "\(error)")
        }
    }

    /// The settings of each connection of the server.
    ///
    /// The server does not send them through a pooler.
    ///
    /// `lock_timeout`: a transaction of another program can hold a row for any time. A statement that waits for it holds
    /// a connection of the pool.
    private var session: [String: String] {
        SessionSettings.values.merging(["lock_timeout": "\(timeouts.lock.whole(.milliseconds, .up))"]) { $1 }
    }

    /// The configuration of the connections for queries.
    ///
    /// - Parameters:
    ///   - name: The name that `pg_stat_activity` shows.
    ///   - logger: Receives the log of the connections.
    /// - Returns: The configuration.
    package func queries(name: String, logger: Logger) -> PostgresConfiguration {
        var configuration = server
        configuration.applicationName = name
        configuration.connectTimeout = timeouts.connect
        configuration.queryTimeout = timeouts.query
        configuration.sessionSettings = session
        configuration.logger = logger
        return configuration
    }

    /// The configuration of the listener's connection.
    package func listener(logger: Logger) -> PostgresConfiguration {
        var configuration = direct
        configuration.applicationName = "therapybridge listener"
        configuration.sessionSettings = session
        configuration.logger = logger
        return configuration
    }

    /// The size of the pool, and how long a query waits for a connection of the pool.
    package var pool: PostgresPoolConfiguration {
        var pool = PostgresPoolConfiguration(size: poolSize, waitTimeout: timeouts.borrow)
        pool.contentionTimeout = timeouts.lock
        return pool
    }
}

/// How long the server waits for its database before it answers 503.
///
/// These values are not settings. A user does not wait longer, however slow the database is.
public struct DatabaseTimeouts: Sendable {
    /// The time to connect.
    public var connect = Duration.seconds(5)
    /// The time until a connection of the pool is free.
    public var borrow = Duration.seconds(5)
    /// The time until PostgreSQL answers a query.
    public var query = Duration.seconds(10)
    /// The time until a lock is free, and until fewer callers wait for it.
    ///
    /// The role `therapybridge_server` has the same value, for connections through a pooler.
    public var lock = Duration.seconds(2)
    /// The time until the database, and the folder of recordings, tell whether the server is ready.
    ///
    /// It is shorter than the timeouts of most load balancers' probes.
    public var readiness = Duration.seconds(2)

    /// The timeouts of a server.
    public init() {}
}

/// The database that the operator's commands use.
public struct OperatorDatabaseSettings: Sendable {
    private let server: PostgresConfiguration

    /// Reads the group.
    ///
    /// - Throws: ``SettingError`` when the setting is missing or bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let url = try reader.group(DatabaseSettings.title).required(
            Self.name, form: DatabaseSettings.form,
            "The database, as a member of `therapybridge_owner`: only for `migrate`, `user`, `assign`, `unassign`, "
                + "`token`, `audit`, `failed` and `retry`. The first `migrate up` also needs CREATEROLE."
        ) { $0 }
        server = try DatabaseSettings.connection(url, of: Self.name)
    }

    /// The environment variable.
    static let name = "DATABASE_MIGRATE_URL"

    /// The connections of an operator's command.
    func queries(logger: Logger) -> PostgresConfiguration {
        var configuration = server
        configuration.applicationName = "therapybridge operations"
        configuration.sessionSettings = SessionSettings.values
        configuration.logger = logger
        return configuration
    }
}
