import Polling

/// What a pool holds: its connections, its waiters and its counters.
///
/// The pool's lock protects it. A method changes the state and returns the effects that follow. The pool carries them
/// out after it has released the lock.
struct PoolState {
    /// A caller that waits for a connection.
    struct Waiter: Sendable {
        let continuation: CheckedContinuation<Loan, any Error>
        let timer: DeadlineID
    }

    /// A connection that is lent, and its slot.
    struct Loan: Sendable {
        let slot: Int
        let core: ConnectionCore
        let needsCheck: Bool
    }

    /// What the pool does after it has released the lock.
    enum Effect: Sendable {
        case connect(Int, after: Duration)
        case grant(Waiter, Loan)
        case refuse(Waiter, PostgresError)
        case close(ConnectionCore)
        case finish
    }

    private var machine: PoolStateMachine
    private var cores: [Int: ConnectionCore] = [:]
    /// The attempts to connect that are under way.
    private var attempts: [Int: Task<Void, Never>] = [:]
    private var waiters: [Int: Waiter] = [:]
    private var lastWaiter = 0
    private var lastConnectError: PostgresError?
    private var isSweepPlanned = false
    private var counters = PostgresPoolStatistics()

    init(settings: PostgresPoolConfiguration) {
        machine = PoolStateMachine(
            limits: .init(
                size: settings.size, maximumWaiters: settings.maximumWaiters, checkAfter: settings.checkAfter,
                idleTimeout: settings.idleTimeout))
    }

    /// The connections that are open.
    var openConnections: [ConnectionCore] { Array(cores.values) }

    var statistics: PostgresPoolStatistics {
        var statistics = counters
        statistics.open = machine.openCount
        statistics.idle = machine.idleCount
        statistics.lent = machine.lentCount
        statistics.connecting = machine.connectingCount
        statistics.waiting = machine.waitingCount
        return statistics
    }

    // MARK: Borrowing

    /// Lends an idle connection, or gives the caller a number to wait with.
    mutating func borrowIdle(now: ContinuousClock.Instant) -> (loan: Loan?, waiter: Int) {
        if let (slot, needsCheck) = machine.borrowIdle(now: now), let core = cores[slot] {
            counters.loansTotal += 1
            return (Loan(slot: slot, core: core, needsCheck: needsCheck), 0)
        }
        lastWaiter += 1
        return (nil, lastWaiter)
    }

    /// Lets a caller wait for a connection.
    mutating func wait(_ id: Int, _ waiter: Waiter, givesUp: Bool, now: ContinuousClock.Instant) -> [Effect] {
        waiters[id] = waiter
        return effects(of: machine.borrow(id, givesUp: givesUp, now: now))
    }

    /// Ends a wait whose time is over, or whose task was cancelled.
    ///
    /// - Returns: The waiter, and the last error of connecting; nil if it waits no longer.
    mutating func stopWaiting(_ id: Int, timedOut: Bool) -> (waiter: Waiter, cause: PostgresError?)? {
        guard machine.leave(id), let waiter = waiters.removeValue(forKey: id) else { return nil }
        if timedOut { counters.exhaustedTotal += 1 }
        return (waiter, lastConnectError)
    }

    /// Takes a connection back.
    mutating func released(_ slot: Int, isReusable: Bool, now: ContinuousClock.Instant) -> [Effect] {
        effects(of: machine.released(slot, isReusable: isReusable, now: now))
    }

    // MARK: Connecting

    /// Starts an attempt to connect, if the connection is still wanted.
    mutating func connect(_ slot: Int, _ start: () -> Task<Void, Never>) {
        guard machine.connectDue(slot) else { return }
        attempts[slot] = start()
    }

    /// Takes a connection that was opened.
    mutating func connected(
        _ slot: Int, _ core: ConnectionCore, expires: ContinuousClock.Instant, now: ContinuousClock.Instant
    ) -> [Effect] {
        attempts[slot] = nil
        counters.openedTotal += 1
        lastConnectError = nil
        // The server may have closed it in the meantime. Then there is nothing to lend.
        guard core.health.current != .closed else {
            return effects(of: machine.connectFailed(slot, isPermanent: false, jitter: 1))
        }
        cores[slot] = core
        return effects(of: machine.connected(slot, expires: expires, now: now))
    }

    /// Records that an attempt to connect failed.
    mutating func connectFailed(
        _ slot: Int, _ error: PostgresError, isPermanent: Bool, jitter: Double
    ) -> [Effect] {
        attempts[slot] = nil
        counters.connectFailuresTotal += 1
        lastConnectError = error
        return effects(of: machine.connectFailed(slot, isPermanent: isPermanent, jitter: jitter))
    }

    /// Records that a connection is closed.
    mutating func closed(_ slot: Int) -> [Effect] {
        // Until the pool has the connection, the slot belongs to the attempt to connect.
        guard cores.removeValue(forKey: slot) != nil else { return [] }
        return effects(of: machine.closed(slot))
    }

    // MARK: Closing

    /// Plans a look at old and unused connections, unless one is planned or there are none.
    ///
    /// - Returns: Whether the caller sets a timer.
    mutating func planSweep() -> Bool {
        guard !isSweepPlanned, machine.totalCount > 0 else { return false }
        isSweepPlanned = true
        return true
    }

    /// Closes old and unused connections.
    mutating func sweep(now: ContinuousClock.Instant) -> [Effect] {
        isSweepPlanned = false
        return effects(of: machine.tick(now: now))
    }

    /// Begins the end.
    ///
    /// - Returns: The effects, and the attempts to connect that are cancelled.
    mutating func shutDown() -> (effects: [Effect], attempts: [Task<Void, Never>]) {
        (effects(of: machine.shutDown()), Array(attempts.values))
    }

    /// Closes the connections that are still lent.
    mutating func closeTheRest() -> [Effect] { effects(of: machine.closeTheRest()) }

    // MARK: Effects

    private mutating func effects(of first: [PoolStateMachine.Action]) -> [Effect] {
        var actions = first
        var effects: [Effect] = []
        var next = actions.startIndex
        while next < actions.endIndex {
            let action = actions[next]
            next += 1
            switch action {
            case .connect(let slot, let pause): effects.append(.connect(slot, after: pause))
            case .finished: effects.append(.finish)
            case .grant(let id, let slot, let needsCheck):
                guard let waiter = waiters.removeValue(forKey: id), let core = cores[slot] else {
                    preconditionFailure("the pool lent a connection that it does not have")
                }
                counters.loansTotal += 1
                effects.append(.grant(waiter, Loan(slot: slot, core: core, needsCheck: needsCheck)))
            case .refuse(let id, let refusal):
                guard let waiter = waiters.removeValue(forKey: id) else { continue }
                if refusal == .tooManyWaiters { counters.exhaustedTotal += 1 }
                effects.append(.refuse(waiter, error(of: refusal)))
            case .close(let slot):
                if let core = cores[slot] {
                    effects.append(.close(core))
                } else {
                    // The server closed the connection first.
                    actions += machine.closed(slot)
                }
            }
        }
        return effects
    }

    private func error(of refusal: PoolStateMachine.Refusal) -> PostgresError {
        switch refusal {
        case .tooManyWaiters: PostgresError(.poolExhausted, "too many callers wait for a database connection")
        case .closed: PostgresError(.poolClosed, "the connection pool is shut down")
        case .cannotConnect: lastConnectError ?? PostgresError(.connection, "cannot connect to the database")
        }
    }
}
