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
    private let runtime: PostgresRuntime
    private let state: Mutex<State>
    private let finished = Latch()

    private struct Waiter {
        let continuation: CheckedContinuation<Lease, any Error>
        let timer: DeadlineID
    }

    /// A connection that is lent, and its place in the pool.
    struct Lease: Sendable {
        let slot: Int
        let core: ConnectionCore
        let needsCheck: Bool
    }

    private struct State {
        var machine: PoolStateMachine
        var cores: [Int: ConnectionCore] = [:]
        var waiters: [Int: Waiter] = [:]
        var lastWaiter = 0
        var lastConnectError: PostgresError?
        var sweep: DeadlineID?
        var statistics = PostgresPoolStatistics(
            open: 0, idle: 0, leased: 0, connecting: 0, waiting: 0, openedTotal: 0, connectFailuresTotal: 0,
            leasesTotal: 0, exhaustedTotal: 0)
    }

    /// Makes a pool; nothing is opened yet.
    ///
    /// - Parameters:
    ///   - configuration: how to reach the database.
    ///   - settings: how many connections, and how long to wait for one.
    /// - Throws: `PostgresError` when the process cannot start the thread for its connections.
    public init(
        configuration: PostgresConfiguration,
        settings: PostgresPoolConfiguration = PostgresPoolConfiguration()
    ) throws {
        self.configuration = configuration
        self.settings = settings
        self.runtime = try .shared()
        self.state = Mutex(
            State(
                machine: PoolStateMachine(
                    limits: .init(
                        size: settings.size, maximumWaiters: settings.maximumWaiters,
                        checkAfter: settings.checkAfter, idleTimeout: settings.idleTimeout))))
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
        let timer = runtime.poller.schedule(at: .now + settings.shutdownTimeout) { [weak self] in
            self?.act { $0.machine.closeTheRest() }
        }
        act { $0.machine.shutDown() }
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
        let lease = try await leaseWorking(waitTimeout ?? settings.waitTimeout)
        let connection = PostgresConnection(core: lease.core, defaultTimeout: configuration.queryTimeout)
        defer {
            connection.endLoan()
            giveBack(lease)
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
            statistics.leased = state.machine.leasedCount
            statistics.connecting = state.machine.connectingCount
            statistics.waiting = state.machine.waitingCount
            return statistics
        }
    }

    // MARK: Leases

    /// Leases a connection that has answered lately.
    private func leaseWorking(_ waitTimeout: Duration) async throws -> Lease {
        let deadline = ContinuousClock.now + waitTimeout
        while true {
            let lease = try await lease(until: deadline)
            guard lease.needsCheck else { return lease }
            do {
                try await lease.core.perform(.script(""), timeout: settings.checkTimeout)
                return lease
            } catch {
                release(lease.slot, isReusable: false)
                if (error as? PostgresError)?.code == .cancelled { throw error }
            }
        }
    }

    private func lease(until deadline: ContinuousClock.Instant) async throws -> Lease {
        // The usual way: a connection is free, and nobody has to wait or to be woken.
        let (free, waiter) = state.withLock { state -> (Lease?, Int) in
            if let (slot, needsCheck) = state.machine.leaseIdle(now: .now), let core = state.cores[slot] {
                state.statistics.leasesTotal += 1
                return (Lease(slot: slot, core: core, needsCheck: needsCheck), 0)
            }
            state.lastWaiter += 1
            return (nil, state.lastWaiter)
        }
        if let free { return free }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                // Checked after the handler is in place: a later cancellation finds the waiter in its place.
                if Task.isCancelled {
                    return continuation.resume(throwing: Self.cancelled)
                }
                let timer = runtime.poller.schedule(at: deadline) { [weak self] in
                    self?.giveUpWaiting(waiter, timedOut: true)
                }
                act { state in
                    state.waiters[waiter] = Waiter(continuation: continuation, timer: timer)
                    return state.machine.lease(waiter, now: .now)
                }
                // A cancellation between the check and here found nobody.
                if Task.isCancelled { giveUpWaiting(waiter, timedOut: false) }
            }
        } onCancel: {
            giveUpWaiting(waiter, timedOut: false)
        }
    }

    private static var cancelled: PostgresError {
        PostgresError(.cancelled, "waiting for a database connection was cancelled")
    }

    private func giveUpWaiting(_ id: Int, timedOut: Bool) {
        let (waiter, cause) = state.withLock { state -> (Waiter?, PostgresError?) in
            guard state.machine.leave(id) else { return (nil, nil) }
            if timedOut { state.statistics.exhaustedTotal += 1 }
            return (state.waiters.removeValue(forKey: id), state.lastConnectError)
        }
        guard let waiter else { return }
        runtime.poller.cancelDeadline(waiter.timer)
        let timeOver = PostgresError(
            .poolExhausted, "no database connection came free in time", underlying: [cause].compactMap { $0 })
        waiter.continuation.resume(throwing: timedOut ? timeOver : Self.cancelled)
    }

    private func giveBack(_ lease: Lease) {
        switch lease.core.health.current {
        case .clean: release(lease.slot, isReusable: true)
        case .closed: release(lease.slot, isReusable: false)
        case .inTransaction, .unsettled:
            // Not structured: whoever had the connection is not kept waiting for its tidying.
            Task {
                await lease.core.settle()
                if lease.core.health.current == .inTransaction {
                    _ = try? await lease.core.perform(
                        .script("ROLLBACK"), timeout: settings.checkTimeout, isShielded: true)
                    await lease.core.settle()
                }
                release(lease.slot, isReusable: lease.core.health.current == .clean)
            }
        }
    }

    private func release(_ slot: Int, isReusable: Bool) {
        act { $0.machine.released(slot, isReusable: isReusable, now: .now) }
    }

    // MARK: Acting

    /// Something that is done outside of the lock.
    private enum Effect {
        case connect(Int, after: Duration)
        case grant(Waiter, Lease)
        case refuse(Waiter, PostgresError)
        case close(ConnectionCore)
        case finish
    }

    /// Changes the state under the lock, and does what follows from it outside.
    private func act(_ change: (inout sending State) -> [PoolStateMachine.Action]) {
        let effects = state.withLock { state -> [Effect] in
            var actions = change(&state)
            var effects: [Effect] = []
            var next = actions.startIndex
            while next < actions.endIndex {
                let action = actions[next]
                next += 1
                switch action {
                case .connect(let slot, let pause): effects.append(.connect(slot, after: pause))
                case .finished: effects.append(.finish)
                case .grant(let id, let slot, let needsCheck):
                    guard let waiter = state.waiters.removeValue(forKey: id), let core = state.cores[slot] else {
                        preconditionFailure("the pool has lent what it does not have")
                    }
                    state.statistics.leasesTotal += 1
                    effects.append(.grant(waiter, Lease(slot: slot, core: core, needsCheck: needsCheck)))
                case .refuse(let id, let refusal):
                    guard let waiter = state.waiters.removeValue(forKey: id) else { continue }
                    if refusal == .tooManyWaiters { state.statistics.exhaustedTotal += 1 }
                    effects.append(.refuse(waiter, Self.error(refusal, cause: state.lastConnectError)))
                case .close(let slot):
                    if let core = state.cores[slot] {
                        effects.append(.close(core))
                    } else {
                        // The server was faster: the connection is closed already.
                        actions += state.machine.closed(slot)
                    }
                }
            }
            return effects
        }
        for effect in effects { carryOut(effect) }
    }

    private static func error(_ refusal: PoolStateMachine.Refusal, cause: PostgresError?) -> PostgresError {
        switch refusal {
        case .tooManyWaiters: PostgresError(.poolExhausted, "too many wait for a database connection")
        case .closed: PostgresError(.poolClosed, "the connection pool is shut down")
        case .cannotConnect: cause ?? PostgresError(.connection, "cannot connect to the database")
        }
    }

    private func carryOut(_ effect: Effect) {
        switch effect {
        case .grant(let waiter, let lease):
            runtime.poller.cancelDeadline(waiter.timer)
            waiter.continuation.resume(returning: lease)
        case .refuse(let waiter, let error):
            runtime.poller.cancelDeadline(waiter.timer)
            waiter.continuation.resume(throwing: error)
        case .close(let core): core.closeSoon(PostgresError(.connection, "the pool closed the connection"))
        case .finish: finished.open()
        case .connect(let slot, let pause):
            if pause > .zero {
                runtime.poller.schedule(at: .now + pause) { [weak self] in self?.connect(slot) }
            } else {
                connect(slot)
            }
        }
    }

    private func connect(_ slot: Int) {
        guard state.withLock({ $0.machine.connectDue(slot) }) else { return }
        // Not structured: the connection belongs to the pool, not to the caller who happened to want it.
        Task {
            let connector = Connector(
                configuration: configuration, runtime: runtime,
                onClose: { [weak self] _ in self?.connectionClosed(slot) })
            do {
                let core = try await connector.connect()
                let expires = ContinuousClock.now + settings.maximumAge * Double.random(in: 0.9...1.1)
                act { state in
                    state.statistics.openedTotal += 1
                    state.lastConnectError = nil
                    // Closed by the server in the moment between: then there is nothing to offer.
                    guard core.health.current != .closed else {
                        return state.machine.connectFailed(slot, isPermanent: false, jitter: 1)
                    }
                    state.cores[slot] = core
                    return state.machine.connected(slot, expires: expires, now: .now)
                }
                // And if it was closed just after that look, `connectionClosed` came before the core was in its place.
                if core.health.current == .closed { connectionClosed(slot) }
                scheduleSweep()
            } catch {
                let error = error as? PostgresError ?? PostgresError(.connection, "cannot connect", underlying: [error])
                configuration.logger.warning(
                    "cannot connect to the database", metadata: ["error": "\(error.description)"])
                let isPermanent = error.sqlState?.isPermanentForConnecting == true || error.code == .configuration
                act { state in
                    state.statistics.connectFailuresTotal += 1
                    state.lastConnectError = error
                    return state.machine.connectFailed(
                        slot, isPermanent: isPermanent, jitter: Double.random(in: 0.75...1.25))
                }
            }
        }
    }

    private func connectionClosed(_ slot: Int) {
        act { state in
            // Before the core is in its place the connecting task still has the slot.
            guard state.cores.removeValue(forKey: slot) != nil else { return [] }
            return state.machine.closed(slot)
        }
    }

    /// Looks for old and unused connections now and then, as long as there are any.
    private func scheduleSweep() {
        let period = min(settings.idleTimeout ?? .seconds(60), settings.maximumAge, .seconds(60)) / 2
        let mustSchedule = state.withLock { $0.sweep == nil && $0.machine.totalCount > 0 }
        guard mustSchedule else { return }
        let timer = runtime.poller.schedule(at: .now + period) { [weak self] in
            guard let self else { return }
            act { state in
                state.sweep = nil
                return state.machine.tick(now: .now)
            }
            scheduleSweep()
        }
        let isExtra = state.withLock { state in
            if state.sweep != nil { return true }
            state.sweep = timer
            return false
        }
        if isExtra { runtime.poller.cancelDeadline(timer) }
    }
}
