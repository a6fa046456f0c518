import DequeModule
import Polling
import Synchronization

/// Lets one caller through at a time, in the order of arrival, and keeps none for long.
///
/// All new connections of a process go through one gate. A burst of handshakes then delays a notification by the time
/// of one. A host that does not answer must not block connections to others. A caller that has waited for `longestWait`
/// therefore goes through anyway.
final class Gate: Sendable {
    private struct State {
        var isTaken = false
        var waiting: Deque<OneShot<Void>> = []
    }

    private let state = Mutex(State())
    private let longestWait: Duration

    init(longestWait: Duration) { self.longestWait = longestWait }

    /// Waits for the caller's turn.
    ///
    /// - Parameter poller: The poller whose clock and deadlines count.
    /// - Returns: True if it is the caller's turn, and `leave` must follow; false if the caller has waited long enough.
    /// - Throws: `PostgresError` with code `cancelled`.
    func enter(on poller: Poller) async throws -> Bool {
        let turn = OneShot<Void>()
        let isFree = state.withLock { state in
            if state.isTaken {
                state.waiting.append(turn)
                return false
            }
            state.isTaken = true
            return true
        }
        if isFree { return true }
        do {
            try await turn.value(until: poller.clock.now + longestWait, on: poller, "waiting to connect")
            return true
        } catch let error as PostgresError where error.code == .deadlineExceeded {
            return false
        }
    }

    /// Lets the next caller through that still waits.
    func leave() {
        while true {
            let next = state.withLock { state -> OneShot<Void>? in
                guard let next = state.waiting.popFirst() else {
                    state.isTaken = false
                    return nil
                }
                return next
            }
            guard let next else { return }
            if next.resume(with: .success(())) { return }
        }
    }
}
