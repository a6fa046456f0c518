import Logging
import Polling
import Synchronization

/// Carrying out what the pool's state machine decides.
extension PostgresPool {
    /// Something that is done outside of the lock.
    enum Effect {
        case connect(Int, after: Duration)
        case grant(Waiter, Loan)
        case refuse(Waiter, PostgresError)
        case close(ConnectionCore)
        case finish
    }

    /// Changes the state under the lock, and does what follows from it outside.
    func act(_ change: (inout sending State) -> [PoolStateMachine.Action]) {
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
                    state.statistics.loansTotal += 1
                    effects.append(.grant(waiter, Loan(slot: slot, core: core, needsCheck: needsCheck)))
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

    static func error(_ refusal: PoolStateMachine.Refusal, cause: PostgresError?) -> PostgresError {
        switch refusal {
        case .tooManyWaiters: PostgresError(.poolExhausted, "too many wait for a database connection")
        case .closed: PostgresError(.poolClosed, "the connection pool is shut down")
        case .cannotConnect: cause ?? PostgresError(.connection, "cannot connect to the database")
        }
    }

    func carryOut(_ effect: Effect) {
        switch effect {
        case .grant(let waiter, let loan):
            runtime.poller.cancelDeadline(waiter.timer)
            waiter.continuation.resume(returning: loan)
        case .refuse(let waiter, let error):
            runtime.poller.cancelDeadline(waiter.timer)
            waiter.continuation.resume(throwing: error)
        case .close(let core): core.closeSoon(PostgresError(.connection, "the pool closed the connection"))
        case .finish: finished.open()
        case .connect(let slot, let pause):
            if pause > .zero {
                runtime.poller.schedule(at: runtime.clock.now + pause) { [weak self] in self?.connect(slot) }
            } else {
                connect(slot)
            }
        }
    }

    func connect(_ slot: Int) {
        state.withLock { state in
            guard state.machine.connectDue(slot) else { return }
            // Not structured: the connection belongs to the pool, not to the caller who happened to want it.
            state.attempts[slot] = Task { await self.attempt(slot) }
        }
    }

    private func attempt(_ slot: Int) async {
        let connector = Connector(
            configuration: configuration, runtime: runtime,
            onClose: { [weak self] _ in self?.connectionClosed(slot) })
        do {
            let core = try await connector.connect()
            let now = runtime.clock.now
            let expires = now + settings.maximumAge * Double.random(in: 0.9...1.1)
            act { state in
                state.attempts[slot] = nil
                state.statistics.openedTotal += 1
                state.lastConnectError = nil
                // Closed by the server in the moment between: then there is nothing to offer.
                guard core.health.current != .closed else {
                    return state.machine.connectFailed(slot, isPermanent: false, jitter: 1)
                }
                state.cores[slot] = core
                return state.machine.connected(slot, expires: expires, now: now)
            }
            // And if it was closed just after that look, `connectionClosed` came before the core was in its place.
            if core.health.current == .closed { connectionClosed(slot) }
            scheduleSweep()
        } catch {
            let error = error as? PostgresError ?? PostgresError(.connection, "cannot connect", underlying: [error])
            if error.code != .cancelled {
                configuration.logger.warning(
                    "cannot connect to the database", metadata: ["error": "\(error.description)"])
            }
            let isPermanent = error.sqlState?.isPermanentForConnecting == true || error.code == .configuration
            act { state in
                state.attempts[slot] = nil
                state.statistics.connectFailuresTotal += 1
                state.lastConnectError = error
                return state.machine.connectFailed(
                    slot, isPermanent: isPermanent, jitter: Double.random(in: 0.75...1.25))
            }
        }
    }

    func connectionClosed(_ slot: Int) {
        act { state in
            // Before the core is in its place the connecting task still has the slot.
            guard state.cores.removeValue(forKey: slot) != nil else { return [] }
            return state.machine.closed(slot)
        }
    }

    /// Looks for old and unused connections now and then, as long as there are any.
    func scheduleSweep() {
        let period = min(settings.idleTimeout ?? .seconds(60), settings.maximumAge, .seconds(60)) / 2
        let mustSchedule = state.withLock { $0.sweep == nil && $0.machine.totalCount > 0 }
        guard mustSchedule else { return }
        let timer = runtime.poller.schedule(at: runtime.clock.now + period) { [weak self] in
            guard let self else { return }
            let now = runtime.clock.now
            act { state in
                state.sweep = nil
                return state.machine.tick(now: now)
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
