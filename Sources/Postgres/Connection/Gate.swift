import DequeModule
import Polling
import Synchronization

/// Lets one party through at a time, in the order of arrival, but keeps nobody for long.
///
/// New connections of a process go through one gate, so that a burst of handshakes does not delay a notification by
/// more than the time of one. A host that does not answer must not keep the connections to others from being made, so
/// whoever has waited for `longestWait` goes through regardless.
final class Gate: Sendable {
    private struct State {
        var isTaken = false
        var waiting: Deque<OneShot<Void>> = []
    }

    private let state = Mutex(State())
    private let longestWait: Duration

    init(longestWait: Duration) { self.longestWait = longestWait }

    /// Waits for its turn.
    ///
    /// - Parameter poller: whose deadlines are used.
    /// - Returns: whether it is its turn, so that `leave` must follow; false when it has waited long enough.
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

    /// Lets the next one through; one that does not wait any more is passed over.
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
