import Synchronization

/// The reading of the rest of a body whose request has been refused, on one connection.
final class BodyRest: Sendable {
    /// How many bytes the server reads at most.
    let limit: Int
    private let rests: BodyRests

    fileprivate init(limit: Int, of rests: BodyRests) {
        self.limit = limit
        self.rests = rests
    }

    deinit { rests.ended() }
}

/// Limits on how many connections the server reads the rest of a body at once.
///
/// Each costs the bandwidth of its client. Beyond the limit, a refused client whose body is long may not see the reason.
final class BodyRests: Sendable {
    private let most: Int
    private let count = Mutex(0)

    init(most: Int = 64) { self.most = most }

    /// Begins to read the rest of a body.
    ///
    /// - Parameter limit: How many bytes to read at most.
    /// - Returns: What keeps the count until it is released; nil at the limit.
    func begin(limit: Int) -> BodyRest? {
        let isBegun = count.withLock { count in
            guard count < most else { return false }
            count += 1
            return true
        }
        return isBegun ? BodyRest(limit: limit, of: self) : nil
    }

    fileprivate func ended() { count.withLock { $0 -= 1 } }
}
