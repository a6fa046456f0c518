import Logging
import Polling
import Synchronization

/// Opens, lends, takes back and closes the connections of a pool.
///
/// `PoolState` decides under the lock. This class carries out the effects after it has released the lock.
final class ConnectionLender: Sendable {
    typealias Loan = PoolState.Loan

    private let configuration: PostgresConfiguration
    private let settings: PostgresPoolConfiguration
    private let runtime: PostgresRuntime
    private let state: Mutex<PoolState>
    private let finished = Latch()

    init(configuration: PostgresConfiguration, settings: PostgresPoolConfiguration, runtime: PostgresRuntime) {
        self.configuration = configuration
        self.settings = settings
        self.runtime = runtime
        state = Mutex(PoolState(settings: settings))
    }

    deinit {
        // The pool was not closed. Nothing waits or is lent, because a borrower holds the pool.
        let cores = state.withLock { $0.openConnections }
        for core in cores { core.closeSoon(PostgresError(.poolClosed, "the connection pool was released")) }
    }

    var statistics: PostgresPoolStatistics { state.withLock { $0.statistics } }

    /// Refuses the waiters, closes the connections, and waits until all are closed.
    ///
    /// Connections that are still lent after `shutdownTimeout` are closed.
    func close() async {
        let timer = runtime.poller.schedule(at: runtime.clock.now + settings.shutdownTimeout) { [weak self] in
            self?.act { $0.closeTheRest() }
        }
        let (effects, attempts) = state.withLock { $0.shutDown() }
        for effect in effects { carryOut(effect) }
        for attempt in attempts { attempt.cancel() }
        await finished.wait()
        runtime.poller.cancelDeadline(timer)
    }

    // MARK: Lending

    /// Borrows a connection that has answered lately.
    ///
    /// - Parameters:
    ///   - waitTimeout: How long to wait for one.
    ///   - givesUp: Whether to fail as soon as the database cannot be reached.
    /// - Returns: The loan.
    /// - Throws: `PostgresError` with code `poolExhausted`, `poolClosed`, `connection` or `cancelled`.
    func borrow(_ waitTimeout: Duration, givesUp: Bool) async throws -> Loan {
        let deadline = runtime.clock.now + waitTimeout
        while true {
            let loan = try await borrow(until: deadline, givesUp: givesUp)
            guard loan.needsCheck else { return loan }
            do {
                let rest = max(.milliseconds(1), deadline - runtime.clock.now)
                try await loan.core.perform(.script(""), timeout: min(settings.checkTimeout, rest))
                return loan
            } catch {
                release(loan.slot, isReusable: false)
                if (error as? PostgresError)?.code == .cancelled { throw error }
            }
        }
    }

    private func borrow(until deadline: ContinuousClock.Instant, givesUp: Bool) async throws -> Loan {
        let now = runtime.clock.now
        // Usually a connection is idle, and the caller does not wait.
        let (idle, waiter) = state.withLock { $0.borrowIdle(now: now) }
        if let idle { return idle }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                // The cancellation handler is in place here: it finds a waiter that is cancelled later.
                if Task.isCancelled {
                    return continuation.resume(throwing: Self.cancelled)
                }
                let timer = runtime.poller.schedule(at: deadline) { [weak self] in
                    self?.stopWaiting(waiter, timedOut: true)
                }
                act { $0.wait(waiter, .init(continuation: continuation, timer: timer), givesUp: givesUp, now: now) }
                // A cancellation between the check and the wait found no waiter.
                if Task.isCancelled { stopWaiting(waiter, timedOut: false) }
            }
        } onCancel: {
            stopWaiting(waiter, timedOut: false)
        }
    }

    private static var cancelled: PostgresError {
        PostgresError(.cancelled, "waiting for a database connection was cancelled")
    }

    private func stopWaiting(_ id: Int, timedOut: Bool) {
        guard let (waiter, cause) = state.withLock({ $0.stopWaiting(id, timedOut: timedOut) }) else { return }
        runtime.poller.cancelDeadline(waiter.timer)
        let timeOver = PostgresError(
            .poolExhausted, "no database connection was free in time", underlying: [cause].compactMap { $0 })
        waiter.continuation.resume(throwing: timedOut ? timeOver : Self.cancelled)
    }

    /// Takes a connection back, and tidies it first if it needs that.
    func giveBack(_ loan: Loan) {
        switch loan.core.health.current {
        case .clean: release(loan.slot, isReusable: true)
        case .closed: release(loan.slot, isReusable: false)
        case .inTransaction, .unsettled:
            // Not structured: the borrower does not wait until its connection is tidy.
            Task {
                await loan.core.settle()
                if loan.core.health.current == .inTransaction {
                    _ = try? await loan.core.perform(
                        .script("ROLLBACK"), timeout: settings.checkTimeout, isShielded: true)
                    await loan.core.settle()
                }
                release(loan.slot, isReusable: loan.core.health.current == .clean)
            }
        }
    }

    private func release(_ slot: Int, isReusable: Bool) {
        let now = runtime.clock.now
        act { $0.released(slot, isReusable: isReusable, now: now) }
    }

    // MARK: Effects

    /// Changes the state under the lock, and carries out what follows.
    private func act(_ change: (inout sending PoolState) -> [PoolState.Effect]) {
        let effects = state.withLock { change(&$0) }
        for effect in effects { carryOut(effect) }
    }

    private func carryOut(_ effect: PoolState.Effect) {
        switch effect {
        case .grant(let waiter, let loan):
            runtime.poller.cancelDeadline(waiter.timer)
            waiter.continuation.resume(returning: loan)
        case .refuse(let waiter, let error):
            runtime.poller.cancelDeadline(waiter.timer)
            waiter.continuation.resume(throwing: error)
        case .close(let core): core.closeSoon(PostgresError(.connection, "the pool closed the connection"))
        case .finish: finished.release()
        case .connect(let slot, let pause):
            if pause > .zero {
                runtime.poller.schedule(at: runtime.clock.now + pause) { [weak self] in self?.connect(slot) }
            } else {
                connect(slot)
            }
        }
    }

    // MARK: Connecting

    private func connect(_ slot: Int) {
        state.withLock { state in
            // Not structured: the connection belongs to the pool, not to the caller that wanted one first.
            state.connect(slot) { Task { await self.attempt(slot) } }
        }
    }

    private func attempt(_ slot: Int) async {
        let connector = Connector(
            configuration: configuration, runtime: runtime,
            onClose: { [weak self] _ in self?.act { $0.closed(slot) } })
        do {
            let core = try await connector.connect()
            let now = runtime.clock.now
            let expires = now + settings.maximumAge * Double.random(in: 0.9...1.1)
            act { $0.connected(slot, core, expires: expires, now: now) }
            // If the server closed it just after that look, `onClose` came before the pool had the connection.
            if core.health.current == .closed { act { $0.closed(slot) } }
            scheduleSweep()
        } catch {
            let error = error as? PostgresError ?? PostgresError(.connection, "cannot connect", underlying: [error])
            if error.code != .cancelled {
                configuration.logger.warning(
                    "cannot connect to the database", metadata: ["error": "\(error.description)"])
            }
            let isPermanent = error.sqlState?.isPermanentForConnecting == true || error.code == .configuration
            let jitter = Double.random(in: 0.75...1.25)
            act { $0.connectFailed(slot, error, isPermanent: isPermanent, jitter: jitter) }
        }
    }

    /// Looks for old and unused connections from time to time, as long as there are connections.
    private func scheduleSweep() {
        guard state.withLock({ $0.planSweep() }) else { return }
        let period = min(settings.idleTimeout ?? .seconds(60), settings.maximumAge, .seconds(60)) / 2
        runtime.poller.schedule(at: runtime.clock.now + period) { [weak self] in
            guard let self else { return }
            let now = runtime.clock.now
            act { $0.sweep(now: now) }
            scheduleSweep()
        }
    }
}
