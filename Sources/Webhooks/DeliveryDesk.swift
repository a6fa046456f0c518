import Domain
import FoundationEssentials
import Store
import Synchronization

/// The deliveries that this server works on.
final class DeliveryDesk: Sendable {
    private struct State {
        var busy: [WebhookID: Int] = [:]
        var interrupted: [ClaimedDelivery] = []
        var alarm: ContinuousClock.Instant?
    }

    private let state = Mutex(State())

    /// How many deliveries are under way, for each endpoint that has some.
    var busy: [WebhookID: Int] { state.withLock { $0.busy } }

    /// True if no delivery is under way.
    var isIdle: Bool { state.withLock { $0.busy.isEmpty } }

    /// Begins a delivery.
    func begin(_ delivery: ClaimedDelivery) { state.withLock { $0.busy[delivery.webhook, default: 0] += 1 } }

    /// Ends a delivery.
    ///
    /// - Parameters:
    ///   - delivery: The delivery.
    ///   - wasInterrupted: True if its attempt has no result.
    func end(_ delivery: ClaimedDelivery, wasInterrupted: Bool) {
        state.withLock { state in
            let count = (state.busy[delivery.webhook] ?? 1) - 1
            state.busy[delivery.webhook] = count > 0 ? count : nil
            if wasInterrupted { state.interrupted.append(delivery) }
        }
    }

    /// Removes and returns the deliveries whose attempts have no result.
    func takeInterrupted() -> [ClaimedDelivery] {
        state.withLock { state in
            defer { state.interrupted = [] }
            return state.interrupted
        }
    }

    /// Sets an alarm, unless one goes off earlier.
    ///
    /// - Returns: False if an earlier one is set.
    func setAlarm(at time: ContinuousClock.Instant, now: ContinuousClock.Instant) -> Bool {
        state.withLock { state in
            if let alarm = state.alarm, alarm > now, alarm <= time { return false }
            state.alarm = time
            return true
        }
    }
}
