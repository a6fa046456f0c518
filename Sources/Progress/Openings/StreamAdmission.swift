import Domain

/// Counts the open streams, in all and of each user, and turns away the newest when there are too many.
public struct StreamAdmission: Sendable {
    private let limit: Int
    private let limitPerUser: Int
    /// How many streams there are.
    private(set) var total = 0
    private var ofUser: [UserID: Int32] = [:]

    /// - Parameters:
    ///   - limit: How many streams there may be (`SSE_MAX_STREAMS`).
    ///   - limitPerUser: How many one user may have (`SSE_MAX_STREAMS_PER_USER`).
    public init(limit: Int, limitPerUser: Int) {
        self.limit = limit
        self.limitPerUser = limitPerUser
    }

    static let unlimited = StreamAdmission(limit: .max, limitPerUser: .max)

    /// Takes a place for one more stream; false when there is none.
    mutating func admit(_ user: UserID) -> Bool {
        let present = ofUser[user, default: 0]
        guard total < limit, present < limitPerUser else { return false }
        total += 1
        ofUser[user] = present + 1
        return true
    }

    /// Gives a place back.
    mutating func leave(_ user: UserID) {
        total -= 1
        let remaining = ofUser[user, default: 1] - 1
        ofUser[user] = remaining > 0 ? remaining : nil
    }
}
