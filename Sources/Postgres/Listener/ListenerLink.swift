import Polling
import Synchronization

/// What the poller's thread has seen on one connection of a listener, for the task that minds it.
///
/// Notifications for the consumer do not come through here but straight into the mailbox.
final class ListenerLink: Sendable {
    private struct State {
        var hasHeard = false
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

    /// What came out of waiting.
    enum Outcome { case heard, proved, silent, closed }

    /// A notification was read.
    ///
    /// - Returns: whether it is for the consumer.
    func received(_ notification: PostgresNotification) -> Bool {
        let isOwn = notification.channel == privateChannel
        change { state in
            if isOwn { state.isProved = state.isProved || notification.payload == proof } else { state.hasHeard = true }
        }
        return !isOwn
    }

    /// The connection is gone.
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

    /// Waits for the end of the silence.
    ///
    /// Every notification only pushes the moment of the next check, so they are noted without waking this task: it
    /// looks once when the moment has come.
    func waitForSilence(until deadline: ContinuousClock.Instant, on poller: Poller) async -> Outcome {
        state.withLock { $0.hasHeard = false }
        let outcome = await wait(until: deadline, on: poller) { _ in nil }
        guard case .silent = outcome else { return outcome }
        return state.withLock { $0.hasHeard } ? .heard : .silent
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
                // The time is over, or the task is cancelled, which its loop looks at itself.
                return .silent
            }
        }
    }
}
