import Polling
import Synchronization

/// How a connection gets to its borrower and back.
extension PostgresPool {
    /// Leases a connection that has answered lately.
    func borrowWorking(_ waitTimeout: Duration) async throws -> Loan {
        let deadline = runtime.clock.now + waitTimeout
        while true {
            let loan = try await borrow(until: deadline)
            guard loan.needsCheck else { return loan }
            do {
                try await loan.core.perform(.script(""), timeout: settings.checkTimeout)
                return loan
            } catch {
                release(loan.slot, isReusable: false)
                if (error as? PostgresError)?.code == .cancelled { throw error }
            }
        }
    }

    func borrow(until deadline: ContinuousClock.Instant) async throws -> Loan {
        let now = runtime.clock.now
        // The usual way: a connection is free, and nobody has to wait or to be woken.
        let (free, waiter) = state.withLock { state -> (Loan?, Int) in
            if let (slot, needsCheck) = state.machine.borrowIdle(now: now), let core = state.cores[slot] {
                state.statistics.loansTotal += 1
                return (Loan(slot: slot, core: core, needsCheck: needsCheck), 0)
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
                    return state.machine.borrow(waiter, now: now)
                }
                // A cancellation between the check and here found nobody.
                if Task.isCancelled { giveUpWaiting(waiter, timedOut: false) }
            }
        } onCancel: {
            giveUpWaiting(waiter, timedOut: false)
        }
    }

    static var cancelled: PostgresError {
        PostgresError(.cancelled, "waiting for a database connection was cancelled")
    }

    func giveUpWaiting(_ id: Int, timedOut: Bool) {
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

    func giveBack(_ loan: Loan) {
        switch loan.core.health.current {
        case .clean: release(loan.slot, isReusable: true)
        case .closed: release(loan.slot, isReusable: false)
        case .inTransaction, .unsettled:
            // Not structured: whoever had the connection is not kept waiting for its tidying.
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

    func release(_ slot: Int, isReusable: Bool) {
        let now = runtime.clock.now
        act { $0.machine.released(slot, isReusable: isReusable, now: now) }
    }
}
