import Domain

/// The users with watchers: each has a list of its watchers, and the number of its streams.
struct UserIndex {
    private struct Row {
        /// The slot of the first watcher, which the table links to the others; −1 for none.
        var first: Int32 = -1
        var streams: Int32 = 0
    }

    private var rows: [UserID: Row] = [:]

    var isEmpty: Bool { rows.isEmpty }

    /// The slot of the first watcher of a user; −1 for none.
    func first(of user: UserID) -> Int { Int(rows[user]?.first ?? -1) }
    func streams(of user: UserID) -> Int { Int(rows[user]?.streams ?? 0) }

    /// Puts a watcher at the head of the list of its user; −1 empties the list.
    mutating func setFirst(_ watcher: Int, of user: UserID) {
        rows[user, default: Row()].first = Int32(watcher)
        removeIfUnused(user)
    }

    mutating func countStreams(_ change: Int, of user: UserID) {
        rows[user, default: Row()].streams += Int32(change)
        removeIfUnused(user)
    }

    private mutating func removeIfUnused(_ user: UserID) {
        if let row = rows[user], row.first < 0, row.streams == 0 { rows[user] = nil }
    }
}
