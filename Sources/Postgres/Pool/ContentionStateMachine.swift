import DequeModule

/// Decides which callers may use a connection while they contend for locks of the database.
///
/// A caller that waits for a lock holds a connection for as long as it waits. Without a bound, the callers of one locked
/// row take all connections of the pool, and callers that need no lock wait for them.
struct ContentionStateMachine {
    /// How many callers there may be.
    struct Limits {
        /// How many callers of one key use a connection at the same time.
        var ofKey: Int
        /// How many callers of all keys use a connection at the same time.
        var total: Int
        /// How many callers wait in the line.
        var line: Int
    }

    /// The answer to a caller that arrives.
    enum Decision: Equatable {
        /// The caller may go on, and ``ContentionStateMachine/leave(_:)`` follows.
        case enter
        /// The caller waits in the line, under this number.
        case wait(Int)
        /// The line is full.
        case refuse
    }

    /// A caller in the line.
    private struct Waiter {
        let id: Int
        let key: String
    }

    private let limits: Limits
    /// How many callers of each key use a connection.
    private var running: [String: Int] = [:]
    private var total = 0
    private var line: Deque<Waiter> = []
    private var lastID = 0

    init(limits: Limits) { self.limits = limits }

    /// A caller arrives.
    mutating func arrive(_ key: String) -> Decision {
        if hasRoom(for: key) {
            begin(key)
            return .enter
        }
        guard line.count < limits.line else { return .refuse }
        lastID += 1
        line.append(Waiter(id: lastID, key: key))
        return .wait(lastID)
    }

    /// A caller that had entered leaves.
    ///
    /// - Returns: The waiters that may enter now, with their keys. Each of them has entered.
    mutating func leave(_ key: String) -> [(id: Int, key: String)] {
        total -= 1
        running[key] = running[key].flatMap { $0 > 1 ? $0 - 1 : nil }
        var entering: [(id: Int, key: String)] = []
        // The first in the line whose key has room. One slot has become free, but a waiter of another key may have
        // waited for it behind one whose key has none.
        while total < limits.total, let index = line.firstIndex(where: { hasRoom(for: $0.key) }) {
            let waiter = line.remove(at: index)
            begin(waiter.key)
            entering.append((waiter.id, waiter.key))
        }
        return entering
    }

    /// A waiter leaves the line; nothing happens if it is no longer there.
    mutating func giveUp(_ id: Int) { line.removeAll { $0.id == id } }

    private func hasRoom(for key: String) -> Bool {
        total < limits.total && running[key, default: 0] < limits.ofKey
    }

    private mutating func begin(_ key: String) {
        total += 1
        running[key, default: 0] += 1
    }
}
