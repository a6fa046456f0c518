import Logging
import Polling
public import ServiceLifecycle
import Synchronization

/// A bounded set of connections that are lent to one caller at a time.
///
/// Connections are opened when they are wanted. `run()` only waits for the graceful shutdown and then closes them, so
/// a short-lived program may use a pool without running it and call `close()` at the end.
///
/// Whoever wants a connection waits in line, first come, first served, for `waitTimeout` at most. While the database
/// cannot be reached the pool goes on trying on their behalf; when it refuses us for good, as with a wrong password,
/// they are told at once.
public final class PostgresPool: Service, Sendable {
    let configuration: PostgresConfiguration
    let settings: PostgresPoolConfiguration
    let runtime: PostgresRuntime
    let state: Mutex<State>
    let finished = Latch()

    /// Someone who waits for a connection.
    struct Waiter {
        let continuation: CheckedContinuation<Loan, any Error>
        let timer: DeadlineID
    }

    /// A connection that is lent, and its place in the pool.
    struct Loan: Sendable {
        let slot: Int
        let core: ConnectionCore
        let needsCheck: Bool
    }

    struct State {
        var machine: PoolStateMachine
        var cores: [Int: ConnectionCore] = [:]
        /// The attempts to connect that are under way.
        var attempts: [Int: Task<Void, Never>] = [:]
        var waiters: [Int: Waiter] = [:]
        var lastWaiter = 0
        var lastConnectError: PostgresError?
        var sweep: DeadlineID?
        var statistics = PostgresPoolStatistics(
            open: 0, idle: 0, lent: 0, connecting: 0, waiting: 0, openedTotal: 0, connectFailuresTotal: 0,
            loansTotal: 0, exhaustedTotal: 0)
    }

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
        self.runtime = runtime
        self.state = Mutex(
            State(
                machine: PoolStateMachine(
                    limits: .init(
                        size: settings.size, maximumWaiters: settings.maximumWaiters,
                        checkAfter: settings.checkAfter, idleTimeout: settings.idleTimeout))))
    }

    deinit {
        // Of a pool that nobody closed: nobody waits, as who waits holds the pool, and nothing is lent.
        let cores = state.withLock { $0.cores.values }
        for core in cores { core.closeSoon(PostgresError(.poolClosed, "the connection pool was let go of")) }
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
    public func close() async {
        let timer = runtime.poller.schedule(at: runtime.clock.now + settings.shutdownTimeout) { [weak self] in
            self?.act { $0.machine.closeTheRest() }
        }
        act { $0.machine.shutDown() }
        let attempts = state.withLock { $0.attempts.values }
        for attempt in attempts { attempt.cancel() }
        await finished.wait()
        runtime.poller.cancelDeadline(timer)
    }

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
        let loan = try await borrowWorking(waitTimeout ?? settings.waitTimeout)
        let connection = PostgresConnection(core: loan.core, defaultTimeout: configuration.queryTimeout)
        defer {
            connection.endLoan()
            giveBack(loan)
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
    public var statistics: PostgresPoolStatistics {
        state.withLock { state in
            var statistics = state.statistics
            statistics.open = state.machine.openCount
            statistics.idle = state.machine.idleCount
            statistics.lent = state.machine.lentCount
            statistics.connecting = state.machine.connectingCount
            statistics.waiting = state.machine.waitingCount
            return statistics
        }
    }
}
