public import Polling
public import ServiceLifecycle

/// A bounded set of connections, each of which is lent to one caller at a time.
///
/// The pool opens a connection when a caller wants one. `run()` waits for the graceful shutdown and then closes the
/// pool. A short-lived program may use a pool without `run()`, and call `close()` at the end.
///
/// Callers wait in the order of arrival, each for `waitTimeout` at most. While the pool cannot reach the database, it
/// keeps trying for them, although each attempt may be refused at once: PostgreSQL restarts within `waitTimeout`, and a
/// request that waits is then answered as if nothing had happened. If the server will never accept the connection, for
/// example because of a wrong password, they fail at once. So does a caller that wants to know whether the database
/// answers now: `givesUpWhenRefused`.
public final class PostgresPool: Service, Sendable {
    private let configuration: PostgresConfiguration
    private let settings: PostgresPoolConfiguration
    private let lender: ConnectionLender
    private let contention: ContentionGate
    private let runtime: PostgresRuntime
    private let observer: (any PostgresObserver)?

    /// Makes a pool, which opens no connection yet.
    ///
    /// - Parameters:
    ///   - configuration: How to reach the database.
    ///   - settings: How many connections, and how long to wait for one.
    ///   - clock: The clock of all waits of the pool and its connections.
    ///   - observer: Learns how long statements and waits take; nil for none.
    /// - Throws: `PostgresError` if the process cannot start the thread for its connections.
    public init(
        configuration: PostgresConfiguration,
        settings: PostgresPoolConfiguration = PostgresPoolConfiguration(),
        clock: any MonotonicClock = ContinuousClock(),
        observer: (any PostgresObserver)? = nil
    ) throws {
        self.configuration = configuration
        self.settings = settings
        self.observer = observer
        runtime = try .using(clock)
        lender = ConnectionLender(configuration: configuration, settings: settings, runtime: runtime)
        let contenders = settings.contenders ?? max(1, settings.size / 2)
        contention = ContentionGate(
            limits: .init(
                ofKey: settings.contendersOfKey ?? (contenders < 4 ? 1 : 2), total: contenders,
                line: settings.maximumWaiters),
            longestWait: settings.contentionTimeout)
    }

    /// Makes a pool, lends it and closes it.
    ///
    /// - Parameters:
    ///   - configuration: How to reach the database.
    ///   - settings: How many connections, and how long to wait for one.
    ///   - isolation: The actor of the caller, on which the body runs.
    ///   - body: Uses the pool until it returns.
    /// - Returns: What the body returns.
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

    /// Waits for the graceful shutdown, or the cancellation of the task, then closes the pool.
    public func run() async throws {
        try? await gracefulShutdown()
        await close()
    }

    /// Closes the pool.
    ///
    /// Waiters fail, and unused connections are closed. The pool waits for connections that are lent, for
    /// `shutdownTimeout` at most.
    public func close() async { await lender.close() }

    // MARK: Lending

    /// Lends a connection.
    ///
    /// When the body returns, the pool tidies the connection: it rolls an open transaction back and drains a cancelled
    /// query. If it cannot, it closes the connection.
    ///
    /// - Parameters:
    ///   - waitTimeout: How long to wait for a connection; nil takes the pool's setting.
    ///   - givesUpWhenRefused: True to fail as soon as an attempt to connect fails and the pool has no other connection,
    ///     with the error of that attempt.
    ///   - isolation: The actor of the caller, on which the body runs.
    ///   - body: Uses the connection until it returns.
    /// - Returns: What the body returns.
    /// - Throws: `PostgresError` with code `poolExhausted`, `poolClosed`, `connection` or `cancelled`, or what the body
    ///   throws.
    public func withConnection<Value>(
        waitTimeout: Duration? = nil,
        givesUpWhenRefused: Bool = false,
        isolation: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        let loan = try await borrow(waitTimeout ?? settings.waitTimeout, givesUp: givesUpWhenRefused)
        let connection = PostgresConnection(
            core: loan.core, defaultTimeout: configuration.queryTimeout, observer: observer)
        defer {
            connection.endLoan()
            lender.giveBack(loan)
        }
        return try await body(connection)
    }

    private func borrow(_ waitTimeout: Duration, givesUp: Bool) async throws -> ConnectionLender.Loan {
        guard let observer else { return try await lender.borrow(waitTimeout, givesUp: givesUp) }
        let start = runtime.clock.now
        defer { observer.waited(for: runtime.clock.now - start) }
        return try await lender.borrow(waitTimeout, givesUp: givesUp)
    }

    /// Runs a body whose statements may wait for a lock that others may hold for long.
    ///
    /// Few callers of one key run at the same time, and callers of all keys leave a part of the connections to those
    /// that need no such lock. The others wait for their turn without a connection. A body may not call this method
    /// again.
    ///
    /// - Parameters:
    ///   - key: Names what the callers contend for, such as the id of a row.
    ///   - isolation: The actor of the caller, on which the body runs.
    ///   - body: Borrows a connection of this pool.
    /// - Returns: What the body returns.
    /// - Throws: `PostgresError` with code `contended` if the caller's turn does not come within `contentionTimeout`,
    ///   or `cancelled`; what the body throws.
    public func contending<Value>(
        for key: String,
        isolation: isolated (any Actor)? = #isolation,
        _ body: () async throws -> Value
    ) async throws -> Value {
        try await contention.enter(key, on: runtime.poller)
        defer { contention.leave(key) }
        return try await body()
    }

    /// Runs a query on any connection and returns its rows.
    ///
    /// - Parameters:
    ///   - query: Text with parameters.
    ///   - timeout: How long to wait for the answer once there is a connection; nil takes the configuration's
    ///     `queryTimeout`.
    /// - Returns: The rows.
    /// - Throws: `PostgresError`
    public func query(_ query: PostgresQuery, timeout: Duration? = nil) async throws -> PostgresRows {
        try await withConnection { try await $0.query(query, timeout: timeout) }
    }

    /// Runs a statement for its effect on any connection.
    ///
    /// - Parameters:
    ///   - query: Text with parameters.
    ///   - timeout: How long to wait for the answer once there is a connection; nil takes the configuration's
    ///     `queryTimeout`.
    /// - Returns: How many rows it affected.
    /// - Throws: `PostgresError`
    @discardableResult
    public func execute(_ query: PostgresQuery, timeout: Duration? = nil) async throws -> Int {
        try await withConnection { try await $0.execute(query, timeout: timeout) }
    }

    /// Runs a transaction on any connection; see `PostgresConnection.withTransaction`.
    ///
    /// - Parameters:
    ///   - readOnly: Whether the server refuses writes.
    ///   - actor: The actor of the caller, on which the body runs.
    ///   - body: The statements. It must not end the transaction itself.
    /// - Returns: What the body returns.
    /// - Throws: What `withConnection` and `PostgresConnection.withTransaction` throw.
    @discardableResult
    public func withTransaction<Value>(
        readOnly: Bool = false,
        actor: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        try await withConnection { connection in
            try await connection.withTransaction(readOnly: readOnly, body)
        }
    }

    /// The state and the counters of the pool.
    public var statistics: PostgresPoolStatistics { lender.statistics }
}
