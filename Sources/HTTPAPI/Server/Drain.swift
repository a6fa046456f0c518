import Synchronization

/// The reading of the rest of a body whose request has been refused, on one connection.
final class Drain: Sendable {
    /// How many bytes the server reads at most.
    let limit: Int
    private let drains: Drains

    fileprivate init(limit: Int, of drains: Drains) {
        self.limit = limit
        self.drains = drains
    }

    deinit { drains.ended() }
}

/// Limits how many connections drain at once in this process.
///
/// Each costs the bandwidth of its client. Beyond the limit, a refused client whose body is long may not see the reason.
final class Drains: Sendable {
    private let most: Int
    private let count = Mutex(0)

    init(most: Int = 64) { self.most = most }

    /// Begins to drain.
    ///
    /// - Parameter limit: How many bytes to read at most.
    /// - Returns: What keeps the count until it is released; nil if too many connections drain.
    func begin(limit: Int) -> Drain? {
        let isBegun = count.withLock { count in
            guard count < most else { return false }
            count += 1
            return true
        }
        return isBegun ? Drain(limit: limit, of: self) : nil
    }

    fileprivate func ended() { count.withLock { $0 -= 1 } }
}
