import Domain

/// Counts the open streams, in total and per user, and holds both numbers below their limits.
public struct StreamAdmission: Sendable {
    private let limit: Int
    private let limitPerUser: Int
    /// The number of open streams.
    private(set) var total = 0
    private var ofUser: [UserID: Int32] = [:]

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

    /// Counts one more stream of a user.
    ///
    /// - Parameter user: The user who gets the stream.
    /// - Returns: False, and nothing is counted, if a limit is reached.
    mutating func reserve(_ user: UserID) -> Bool {
        let present = ofUser[user, default: 0]
        guard total < limit, present < limitPerUser else { return false }
        total += 1
        ofUser[user] = present + 1
        return true
    }

    /// Counts one stream of a user less.
    mutating func release(_ user: UserID) {
        total -= 1
        let remaining = ofUser[user, default: 1] - 1
        ofUser[user] = remaining > 0 ? remaining : nil
    }
}
