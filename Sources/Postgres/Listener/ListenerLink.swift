import Polling
import Synchronization

/// What the poller's thread has seen on one connection of a listener, for the listener's task.
///
/// Notifications for the consumer go into the mailbox, not through this object.
final class ListenerLink: Sendable {
    private struct State {
        /// When the last notification for the consumer came; nil once a wait has told of it.
        var lastNotification: ContinuousClock.Instant?
        var isProved = false
        var isClosed = false
        var waiter: OneShot<Void>?
    }

    private let state = Mutex(State())
    let privateChannel: String
    let proof: String

    init() {
        let number = String(UInt64.random(in: .min ... .max), radix: 36)
        privateChannel = "tb_listener_\(number)"
        proof = String(UInt64.random(in: .min ... .max), radix: 36)
    }

    /// How a wait ended.
    enum Outcome: Equatable {
        /// A notification came; `at` is the moment of the last one.
        case received(at: ContinuousClock.Instant)
        case proved, silent, closed
    }

    /// Records a notification.
    ///
    /// - Parameters:
    ///   - notification: The notification that was read.
    ///   - now: The present moment.
    /// - Returns: Whether it is for the consumer.
    func received(_ notification: PostgresNotification, at now: ContinuousClock.Instant) -> Bool {
        let isOwn = notification.channel == privateChannel
        change { state in
            if isOwn {
                state.isProved = state.isProved || notification.payload == proof
            } else {
                state.lastNotification = now
            }
        }
        return !isOwn
    }

    /// Records that the connection is closed.
    func closed() { change { $0.isClosed = true } }

    private func change(_ body: (inout State) -> Void) {
        let waiter = state.withLock { state in
            body(&state)
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume(with: .success(()))
    }

    /// Waits for the proof.
    func waitForProof(until deadline: ContinuousClock.Instant, on poller: Poller) async -> Outcome {
        await wait(until: deadline, on: poller) { $0.isProved ? .proved : nil }
    }

    /// Waits for the end of a silence.
    ///
    /// A notification only postpones the next check. It is therefore recorded without waking the task, which looks once
    /// when the moment has come. The silence began with the last notification, not with this look: the moment of that
    /// notification is the result.
    func waitForSilence(until deadline: ContinuousClock.Instant, on poller: Poller) async -> Outcome {
        let outcome = await wait(until: deadline, on: poller) { _ in nil }
        guard case .silent = outcome else { return outcome }
        return state.withLock { state in
            defer { state.lastNotification = nil }
            return state.lastNotification.map { .received(at: $0) } ?? .silent
        }
    }

    private func wait(
        until deadline: ContinuousClock.Instant,
        on poller: Poller,
        for condition: (inout State) -> Outcome?
    ) async -> Outcome {
        while true {
            let waiter = OneShot<Void>()
            let outcome = state.withLock { state -> Outcome? in
                if state.isClosed { return .closed }
                if let outcome = condition(&state) { return outcome }
                state.waiter = waiter
                return nil
            }
            if let outcome { return outcome }
            do {
                try await waiter.value(until: deadline, on: poller, "waiting for a notification")
            } catch {
                // The time is over, or the task is cancelled. The caller's loop checks for cancellation.
                return .silent
            }
        }
    }
}
