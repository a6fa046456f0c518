import DequeModule
import Domain
import Store

/// Which watchers may get messages, and which watchers need a check of their rights.
///
/// A read that finds progress also finds, in the same database snapshot, the changes of rights since ``snapshot``. Each
/// change names whom it concerns. The hub suspends these watchers before it sends anything that the read has found. A
/// suspended watcher gets nothing until a catch-up, a sweep or, for a follower, a read of its caseload has confirmed its
/// right. That read must have begun after the hub learned of the change.
struct Rights {
    /// Whom the news of a read concerns.
    enum Concern: Equatable {
        /// The watchers that these changes name.
        case named([RightsChange])
        /// All watchers: the hub may have missed changes.
        case all
        /// All watchers: the database has another history, and the ids of its transactions mean something else.
        case otherTimeline
    }

    private struct Suspension {
        /// The number of its last suspension.
        var last: Int
        /// Whether the watcher waits in the queue.
        var isQueued: Bool
        /// The transactions that it was suspended for; nil if they are not known.
        var transactions: [Int64]?

        /// The most transactions that are kept.
        static let mostTransactions = 16
    }

    /// Every change of rights that this database snapshot shows is known; nil before the first read.
    private(set) var snapshot: DatabaseSnapshot?
    /// The number of times at which watchers were suspended.
    private(set) var suspensions = 0
    /// The suspended watchers.
    private var suspended: [WatcherID: Suspension] = [:]
    /// The suspended watchers that wait for a sweep.
    private var queue: Deque<WatcherID> = []
    /// The watchers of the sweep under way, and the number of suspensions when it began.
    private var underWay: (requests: [WatcherRequest], suspensions: Int)?
    /// The last slot of the regular check.
    private var regularCursor = 0
    /// The number of slots that the regular check still has to visit now.
    ///
    /// A fraction waits for the next time.
    private var regularDue = 0.0

    // MARK: - What reads show

    /// A read was made on a timeline.
    ///
    /// - Returns: Whether the timeline is another than before. Nothing that the hub knows is certain then.
    mutating func saw(_ timeline: DatabaseTimeline) -> Bool {
        guard let snapshot, snapshot.timeline != timeline else { return false }
        self.snapshot = nil
        return true
    }

    /// A read has found changes of rights.
    ///
    /// - Parameter news: The changes since a snapshot that was ``snapshot`` when the read began.
    /// - Returns: Whom they concern.
    mutating func saw(_ news: RightsNews) -> Concern {
        if saw(news.snapshot.timeline) {
            snapshot = news.snapshot
            return .otherTimeline
        }
        guard let known = snapshot else {
            snapshot = news.snapshot
            return .all
        }
        // A read that began before the first answer did not look for changes. Some may lie between the two snapshots.
        guard let changes = news.changes else { return .all }
        if known.precedes(news.snapshot) { snapshot = news.snapshot }
        guard news.isComplete(since: known) else { return .all }
        return .named(changes.filter { !known.shows($0.transaction) })
    }

    /// A right of these watchers may have ended or begun.
    ///
    /// - Parameters:
    ///   - watchers: The watchers.
    ///   - transaction: The transaction that changed the right; nil if it is not known.
    ///   - table: The table of the watchers.
    mutating func suspend(_ watchers: some Sequence<WatcherID>, for transaction: Int64?, in table: WatcherTable) {
        suspensions += 1
        for id in watchers {
            var suspension = suspended[id] ?? Suspension(last: 0, isQueued: false, transactions: [])
            suspension.last = suspensions
            if let transaction, let others = suspension.transactions, others.count < Suspension.mostTransactions {
                suspension.transactions = others + [transaction]
            } else {
                suspension.transactions = nil
            }
            // A watcher without a socket needs a catch-up when it gets one.
            if !suspension.isQueued, table.state(of: id).attachedPrincipal != nil {
                suspension.isQueued = true
                queue.append(id)
            }
            suspended[id] = suspension
        }
    }

    /// A watcher begins with a database snapshot that shows its right: the changes before it no longer concern the watcher.
    mutating func begin(_ id: WatcherID, at snapshot: DatabaseSnapshot) {
        if let transactions = suspended[id]?.transactions, transactions.allSatisfy({ snapshot.shows($0) }) {
            remove(id)
        }
    }

    // MARK: - Who may get messages

    /// Whether a watcher may get what a read has found.
    func permits(_ id: WatcherID) -> Bool { suspended.isEmpty || suspended[id] == nil }

    /// A read has confirmed the right of a watcher.
    ///
    /// - Parameters:
    ///   - id: The watcher.
    ///   - suspensions: ``suspensions`` when the read began.
    /// - Returns: False if the watcher was suspended since, and stays so.
    mutating func confirm(_ id: WatcherID, readAfter suspensions: Int) -> Bool {
        guard let last = suspended[id]?.last else { return true }
        guard last <= suspensions else { return false }
        remove(id)
        return true
    }

    /// A watcher has left, or got its last message.
    mutating func remove(_ id: WatcherID) {
        suspended[id] = nil
        // Free the memory after a check of all watchers.
        if suspended.isEmpty { suspended = [:] }
    }

    // MARK: - Sweeps

    /// Part of the regular check is due.
    ///
    /// The regular check finds rights that end without a change of a row, as when a sign-in expires.
    ///
    /// - Parameters:
    ///   - share: The share of all watchers to check, from 0 to 1.
    ///   - table: The watchers.
    mutating func regularCheckIsDue(share: Double, in table: WatcherTable) {
        regularDue = min(Double(table.count), regularDue + Double(table.count) * share)
    }

    /// The watchers to check next.
    struct Sweep {
        /// Watchers of one session: one read checks all of them.
        var watchers: [WatcherRequest] = []
        /// Followers: the hub reads the caseload of each again.
        var followers: [WatcherID] = []

        fileprivate mutating func add(_ id: WatcherID, in table: WatcherTable) {
            if let request = WatcherRequest(id, in: table) {
                watchers.append(request)
            } else if table.isFollower(id) {
                followers.append(id)
            }
        }
    }

    /// The watchers to check next; empty while a sweep is under way.
    mutating func nextSweep(in table: WatcherTable, limit: Int) -> Sweep {
        var sweep = Sweep()
        guard underWay == nil else { return sweep }
        while sweep.watchers.count < limit, let id = queue.popFirst() {
            guard suspended[id] != nil else { continue }
            suspended[id]?.isQueued = false
            sweep.add(id, in: table)
        }
        if queue.isEmpty { queue = [] }
        while regularDue >= 1, sweep.watchers.count < limit, table.count > 0 {
            regularDue -= 1
            regularCursor = (regularCursor + 1) % table.count
            sweep.add(table.id(at: regularCursor), in: table)
        }
        if !sweep.watchers.isEmpty { underWay = (sweep.watchers, suspensions) }
        return sweep
    }

    /// The sweep under way succeeded.
    ///
    /// - Parameters:
    ///   - lost: The indices of the requests whose users have lost the right.
    ///   - table: The watchers.
    /// - Returns: The watchers whose rights are revoked.
    mutating func completedSweep(lost: Set<Int>, in table: WatcherTable) -> [WatcherRequest] {
        guard let (requests, suspensions) = underWay else { return [] }
        underWay = nil
        var revoked: [WatcherRequest] = []
        for (index, request) in requests.enumerated() where table.state(of: request.watcher).hasBegun {
            if lost.contains(index) {
                revoked.append(request)
            } else {
                // A watcher that was suspended since is in the queue again.
                _ = confirm(request.watcher, readAfter: suspensions)
            }
        }
        return revoked
    }

    /// The sweep under way failed: the next one checks its watchers again.
    mutating func failedSweep() {
        for request in underWay?.requests ?? [] where suspended[request.watcher]?.isQueued == false {
            suspended[request.watcher]?.isQueued = true
            queue.append(request.watcher)
        }
        underWay = nil
    }
}
