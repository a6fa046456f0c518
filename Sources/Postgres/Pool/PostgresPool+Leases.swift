import Polling
import Synchronization

/// How a connection gets to its borrower and back.
extension PostgresPool {
    /// Leases a connection that has answered lately.
    func leaseWorking(_ waitTimeout: Duration) async throws -> Lease {
        let deadline = runtime.clock.now + waitTimeout
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

    func lease(until deadline: ContinuousClock.Instant) async throws -> Lease {
        let now = runtime.clock.now
        // The usual way: a connection is free, and nobody has to wait or to be woken.
        let (free, waiter) = state.withLock { state -> (Lease?, Int) in
            if let (slot, needsCheck) = state.machine.leaseIdle(now: now), let core = state.cores[slot] {
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
                    return state.machine.lease(waiter, now: now)
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

    func giveBack(_ lease: Lease) {
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

    func release(_ slot: Int, isReusable: Bool) {
        let now = runtime.clock.now
        act { $0.machine.released(slot, isReusable: isReusable, now: now) }
    }
}
