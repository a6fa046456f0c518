public import Polling
import Synchronization

/// A connection to PostgreSQL.
///
/// A connection that a pool lends works within the closure that borrows it, and refuses to work afterwards. Queries
/// that start at the same time run one after the other.
public final class PostgresConnection: Sendable {
    let core: ConnectionCore
    private let defaultTimeout: Duration?
    private let observer: (any PostgresObserver)?
    private let isLent = Atomic(true)

    init(core: ConnectionCore, defaultTimeout: Duration?, observer: (any PostgresObserver)? = nil) {
        self.core = core
        self.defaultTimeout = defaultTimeout
        self.observer = observer
    }

    deinit {
        // Nobody closed this connection. A connection of a pool is not lent any more at this point.
        if isLent.load(ordering: .acquiring) {
            core.closeSoon(PostgresError(.connection, "the connection was released without a close"))
        }
    }

    /// Opens a connection, which the caller closes.
    ///
    /// - Parameters:
    ///   - configuration: How to reach the database.
    ///   - clock: The clock of all waits of the connection.
    /// - Returns: The connection.
    /// - Throws: `PostgresError`
    public static func connect(
        _ configuration: PostgresConfiguration, clock: any MonotonicClock = ContinuousClock()
    ) async throws -> PostgresConnection {
        try await connect(configuration, on: .using(clock))
    }

    private static func connect(
        _ configuration: PostgresConfiguration, on runtime: PostgresRuntime
    ) async throws -> PostgresConnection {
        let core = try await Connector(configuration: configuration, runtime: runtime).connect()
        return PostgresConnection(core: core, defaultTimeout: configuration.queryTimeout)
    }

    /// Opens a connection, lends it and closes it.
    ///
    /// - Parameters:
    ///   - configuration: How to reach the database.
    ///   - clock: The clock of all waits of the connection.
    ///   - isolation: The actor of the caller, on which the body runs.
    ///   - body: Uses the connection until it returns.
    /// - Returns: What the body returns.
    /// - Throws: `PostgresError`, or what the body throws.
    public static func withConnection<Value>(
        _ configuration: PostgresConfiguration,
        clock: any MonotonicClock = ContinuousClock(),
        isolation: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        try await withConnection(configuration, on: .using(clock), body)
    }

    static func withConnection<Value>(
        _ configuration: PostgresConfiguration,
        on runtime: PostgresRuntime,
        isolation: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        let connection = try await connect(configuration, on: runtime)
        do {
            let value = try await body(connection)
            await connection.close()
            return value
        } catch {
            await connection.close()
            throw error
        }
    }

    /// Runs a query and returns its rows.
    ///
    /// - Parameters:
    ///   - query: Text with parameters.
    ///   - timeout: How long to wait; nil takes the configuration's `queryTimeout`.
    /// - Returns: The rows.
    /// - Throws: `PostgresError`. After `deadlineExceeded` or `cancelled` the server is asked to cancel, and the
    ///   connection is drained before its next query.
    public func query(_ query: PostgresQuery, timeout: Duration? = nil) async throws -> PostgresRows {
        PostgresRows(result: try await perform(.query(query), timeout: timeout))
    }

    /// Runs a statement for its effect.
    ///
    /// - Parameters:
    ///   - query: Text with parameters.
    ///   - timeout: How long to wait; nil takes the configuration's `queryTimeout`.
    /// - Returns: How many rows it affected.
    /// - Throws: `PostgresError`
    @discardableResult
    public func execute(_ query: PostgresQuery, timeout: Duration? = nil) async throws -> Int {
        try await perform(.query(query), timeout: timeout).affectedRows
    }

    /// Runs a text of one or several statements without parameters, by the simple protocol.
    ///
    /// Without transaction commands in it, all of it is one transaction (manual, 55.2.2.1).
    ///
    /// - Parameters:
    ///   - sql: The statements.
    ///   - timeout: How long to wait; nil takes the configuration's `queryTimeout`.
    /// - Throws: `PostgresError` of the first statement that failed. The statements after it were not run.
    public func executeScript(_ sql: String, timeout: Duration? = nil) async throws {
        try await perform(.script(sql), timeout: timeout)
    }

    /// The notices of the last command, such as warnings and `RAISE NOTICE`; at most 64.
    ///
    /// - Returns: The notices in order.
    public func lastNotices() async -> [PostgresNotice] { await core.lastNotices() }

    /// The server's version, such as 150020 for 15.20.
    public var serverVersion: Int { get async { await core.serverVersion() } }

    /// The server process that serves this connection, as in `pg_stat_activity`.
    public var backendProcessID: Int32 { get async { await core.backendProcessID() } }

    /// Closes the connection, and waits until its descriptor is closed.
    ///
    /// A pool does not lend the connection again.
    public func close() async {
        core.closeSoon(PostgresError(.connection, "the connection was closed"))
        await core.settle()
    }

    /// Ends the loan: from now on each call on this object fails.
    func endLoan() { isLent.store(false, ordering: .releasing) }

    @discardableResult
    func perform(_ request: Request, timeout: Duration?, isShielded: Bool = false) async throws -> PostgresResult {
        guard isLent.load(ordering: .acquiring) else {
            throw PostgresError(.protocolViolation, "a connection was used after it went back to its pool")
        }
        guard let observer else {
            return try await core.perform(request, timeout: timeout ?? defaultTimeout, isShielded: isShielded)
        }
        let start = core.runtime.clock.now
        defer { observer.ran(request.sql, for: core.runtime.clock.now - start) }
        return try await core.perform(request, timeout: timeout ?? defaultTimeout, isShielded: isShielded)
    }
}
