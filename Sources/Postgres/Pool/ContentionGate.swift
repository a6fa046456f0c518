import Polling
import Synchronization

/// Keeps callers that contend for the same lock of the database from taking all connections of a pool.
///
/// `ContentionStateMachine` decides under the lock. A caller waits here without a connection.
final class ContentionGate: Sendable {
    private struct State {
        var machine: ContentionStateMachine
        var turns: [Int: OneShot<Void>] = [:]
    }

    private let state: Mutex<State>
    private let longestWait: Duration

    init(limits: ContentionStateMachine.Limits, longestWait: Duration) {
        state = Mutex(State(machine: ContentionStateMachine(limits: limits)))
        self.longestWait = longestWait
    }

    /// Waits for the caller's turn; `leave` must follow.
    ///
    /// - Parameters:
    ///   - key: Names what the callers contend for.
    ///   - poller: The poller whose clock and deadlines count.
    /// - Throws: `PostgresError` with code `contended` if the turn does not come in time, or `cancelled`.
    func enter(_ key: String, on poller: Poller) async throws {
        let turn = OneShot<Void>()
        let decision = state.withLock { state in
            let decision = state.machine.arrive(key)
            if case .wait(let id) = decision { state.turns[id] = turn }
            return decision
        }
        switch decision {
        case .enter: return
        case .refuse: throw Self.contended
        case .wait(let id):
            do {
                try await turn.value(until: poller.clock.now + longestWait, on: poller, "waiting for other callers")
            } catch {
                state.withLock { state in
                    state.turns[id] = nil
                    state.machine.giveUp(id)
                }
                throw (error as? PostgresError)?.code == .deadlineExceeded ? Self.contended : error
            }
        }
    }

    /// Ends the caller's turn, and lets others enter.
    func leave(_ key: String) {
        var keys = [key]
        while let key = keys.popLast() {
            let entering = state.withLock { state in
                state.machine.leave(key).map { id, key in (key, state.turns.removeValue(forKey: id)) }
            }
            for (key, turn) in entering {
                // A waiter whose time was over in this moment does not enter. Its slot goes to the next one.
                if turn?.resume(with: .success(())) != true { keys.append(key) }
            }
        }
    }

    private static var contended: PostgresError {
        PostgresError(.contended, "too many callers wait for the same lock of the database")
    }
}
