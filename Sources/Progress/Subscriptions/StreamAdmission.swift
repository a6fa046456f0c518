/// Counts the open streams, and holds their number, in total and per user, below the limits.
public struct StreamAdmission: Sendable {
    private let limit: Int
    private let limitPerUser: Int
    /// The number of open streams.
    private(set) var total = 0

    /// A count of zero streams.
    ///
    /// - Parameters:
    ///   - limit: The largest number of streams (`SSE_MAX_STREAMS`).
    ///   - limitPerUser: The largest number of streams of one user (`SSE_MAX_STREAMS_PER_USER`).
    public init(limit: Int, limitPerUser: Int) {
        self.limit = limit
        self.limitPerUser = limitPerUser
    }

    static let unlimited = StreamAdmission(limit: .max, limitPerUser: .max)

    /// Counts one more stream.
    ///
    /// - Parameter present: The number of streams that its user has.
    /// - Returns: False, and nothing is counted, if a limit is reached.
    mutating func reserve(besides present: Int) -> Bool {
        guard total < limit, present < limitPerUser else { return false }
        total += 1
        return true
    }

    /// Counts one stream less.
    mutating func release() { total -= 1 }
}
