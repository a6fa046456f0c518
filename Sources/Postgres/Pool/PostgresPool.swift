public import ServiceLifecycle

/// A bounded set of connections that are lent to one caller at a time.
///
/// Connections are opened when they are wanted. `run()` only waits for the graceful shutdown and then closes them, so a
/// short-lived program may use a pool without running it and call `close()` at the end.
///
/// Whoever wants a connection waits in line, first come, first served, for `waitTimeout` at most. While the database
/// cannot be reached the pool goes on trying on their behalf; when it refuses us for good, as with a wrong password,
/// they are told at once.
public final class PostgresPool: Service, Sendable {
    private let configuration: PostgresConfiguration
    private let settings: PostgresPoolConfiguration
    private let lender: ConnectionLender

    /// Makes a pool; nothing is opened yet.
    ///
    /// - Parameters:
    ///   - configuration: how to reach the database.
    ///   - settings: how many connections, and how long to wait for one.
    /// - Throws: `PostgresError` when the process cannot start the thread for its connections.
    public convenience init(
        configuration: PostgresConfiguration,
        settings: PostgresPoolConfiguration = PostgresPoolConfiguration()
    ) throws {
        self.init(configuration: configuration, settings: settings, runtime: try .shared())
    }

    init(configuration: PostgresConfiguration, settings: PostgresPoolConfiguration, runtime: PostgresRuntime) {
        self.configuration = configuration
        self.settings = settings
        lender = ConnectionLender(configuration: configuration, settings: settings, runtime: runtime)
    }

    /// Makes a pool, lends it and closes it.
    ///
    /// - Throws: `PostgresError`, or what the body throws.
    public static func withPool<Value>(
        _ configuration: PostgresConfiguration,
        settings: PostgresPoolConfiguration = PostgresPoolConfiguration(),
        isolation: isolated (any Actor)? = #isolation,
        _ body: (PostgresPool) async throws -> Value
    ) async throws -> Value {
        let pool = try PostgresPool(configuration: configuration, settings: settings)
        do {
            let value = try await body(pool)
            await pool.close()
            return value
        } catch {
            await pool.close()
            throw error
        }
    }

    /// Waits for the graceful shutdown, or the task's cancellation, then closes the pool.
    public func run() async throws {
        try? await gracefulShutdown()
        await close()
    }

    /// Closes the pool: waiters fail, unused connections are closed, lent ones are waited for up to `shutdownTimeout`.
    public func close() async { await lender.close() }

    // MARK: Lending

    /// Lends a connection.
    ///
    /// Whatever is left open on it is undone: a transaction is rolled back, a query given up is drained; what cannot be
    /// undone closes the connection.
    ///
    /// - Parameters:
    ///   - waitTimeout: for how long to wait for one; nil takes the pool's.
    ///   - isolation: the actor of the caller, on which the body runs.
    ///   - body: may use the connection until it returns.
    /// - Returns: what the body returns.
    /// - Throws: `PostgresError` with code `poolExhausted`, `poolClosed`, `connection` or `cancelled`, or what the body
    ///   throws.
    public func withConnection<Value>(
        waitTimeout: Duration? = nil,
        isolation: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        let loan = try await lender.borrow(waitTimeout ?? settings.waitTimeout)
        let connection = PostgresConnection(core: loan.core, defaultTimeout: configuration.queryTimeout)
        defer {
            connection.endLoan()
            lender.giveBack(loan)
        }
        return try await body(connection)
    }

    /// Runs a query on any connection and returns its rows.
    ///
    /// - Parameters:
    ///   - query: text with parameters.
    ///   - timeout: for how long to wait for the answer once there is a connection; nil takes the configuration's.
    /// - Returns: the rows.
    /// - Throws: `PostgresError`
    public func query(_ query: PostgresQuery, timeout: Duration? = nil) async throws -> PostgresRows {
        try await withConnection { try await $0.query(query, timeout: timeout) }
    }

    /// Runs a statement for its effect on any connection.
    ///
    /// - Parameters:
    ///   - query: text with parameters.
    ///   - timeout: for how long to wait for the answer once there is a connection; nil takes the configuration's.
    /// - Returns: how many rows it concerned.
    /// - Throws: `PostgresError`
    @discardableResult
    public func execute(_ query: PostgresQuery, timeout: Duration? = nil) async throws -> Int {
        try await withConnection { try await $0.execute(query, timeout: timeout) }
    }

    /// Runs a transaction on any connection; see `PostgresConnection.withTransaction`.
    @discardableResult
    public func withTransaction<Value>(
        isolation level: PostgresIsolation? = nil,
        readOnly: Bool = false,
        actor: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        try await withConnection { connection in
            try await connection.withTransaction(isolation: level, readOnly: readOnly, body)
        }
    }

    /// What the pool is doing.
    public var statistics: PostgresPoolStatistics { lender.statistics }
}
