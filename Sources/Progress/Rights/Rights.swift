import Domain
import Store

/// Which watchers may get messages, and which watchers need a check of their rights.
///
/// Each read returns the epoch of rights in its own database snapshot. A watcher gets rows of a database snapshot only if
/// its right was confirmed under the same epoch. The hub suspends messages to every other watcher until a catch-up, a sweep
/// or, for a follower, a read of its caseload has confirmed the right.
///
/// The rest of the hub calls ``permits(_:under:)`` before it writes. It calls ``saw(epoch:)`` and ``confirm(_:under:)`` with
/// what a read has shown, and takes the watchers to check from ``nextSweep(in:limit:)``.
struct Rights {
    /// The watchers that need a check.
    struct Sweep {
        /// Watchers of one session: one read checks all of them.
        var watchers: [WatcherRequest] = []
        /// Followers: the hub reads the caseload of each again.
        var followers: [WatcherID] = []
    }

    /// The newest epoch that any read has shown.
    private(set) var epoch: Int64 = 0
    /// The epoch under which the right of each watcher was confirmed last.
    private var confirmed = Column(initial: Int64(0))
    /// The watchers of the sweep under way.
    private var underWay: [WatcherRequest]?
    /// The next slot to search for watchers that were confirmed under an older epoch; nil if there are none.
    private var cursor: Int?
    /// The last slot of the regular check.
    private var regularCursor = 0
    /// The number of slots that the regular check still has to visit now.
    ///
    /// A fraction waits for the next time.
    private var regularDue = 0.0

    /// The memory of one watcher in this sub-machine, in bytes.
    static let bytesPerWatcher = MemoryLayout<Int64>.stride

    // MARK: - What reads show

    /// A read has shown an epoch: every watcher that was confirmed under an older one needs a check.
    mutating func saw(epoch seen: Int64) {
        guard seen > epoch else { return }
        epoch = seen
        cursor = 0
    }

    /// A watcher begins with a snapshot that confirms its right under an epoch.
    mutating func begin(_ id: WatcherID, under epoch: Int64) {
        saw(epoch: epoch)
        confirmed[Int(id.slot)] = epoch
    }

    /// A read has confirmed the right of a watcher under an epoch.
    mutating func confirm(_ id: WatcherID, under epoch: Int64) {
        confirmed[Int(id.slot)] = max(confirmed[Int(id.slot)], epoch)
    }

    // MARK: - Who may get messages

    /// Whether a watcher may get rows of a database snapshot with an epoch.
    ///
    /// The watcher may have had no right under an older epoch than the confirmed one. It may have lost the right under a newer
    /// epoch, even if only another read has shown that epoch.
    ///
    /// - Parameters:
    ///   - id: The watcher.
    ///   - epoch: The epoch of the database snapshot.
    /// - Returns: Whether the right was confirmed under this epoch, and no read has shown a newer one.
    func permits(_ id: WatcherID, under epoch: Int64) -> Bool {
        confirmed[Int(id.slot)] == epoch && epoch == self.epoch
    }

    /// Whether no read has shown a newer epoch than the one under which a watcher was confirmed.
    func isCurrent(_ id: WatcherID) -> Bool { confirmed[Int(id.slot)] >= epoch }

    /// Whether a watcher was confirmed under a newer epoch.
    func isConfirmed(_ id: WatcherID, after epoch: Int64) -> Bool { confirmed[Int(id.slot)] > epoch }

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

    /// The watchers to check next; empty while a sweep is under way.
    mutating func nextSweep(in table: WatcherTable, limit: Int) -> Sweep {
        var sweep = Sweep()
        guard underWay == nil else { return sweep }
        while let slot = cursor, sweep.watchers.count < limit {
            guard slot < table.count else {
                cursor = nil
                break
            }
            cursor = slot + 1
            if confirmed[slot] < epoch { sweep.add(table.id(at: slot), in: table) }
        }
        while regularDue >= 1, sweep.watchers.count < limit, table.count > 0 {
            regularDue -= 1
            regularCursor = (regularCursor + 1) % table.count
            sweep.add(table.id(at: regularCursor), in: table)
        }
        if !sweep.watchers.isEmpty { underWay = sweep.watchers }
        return sweep
    }

    /// The sweep under way succeeded.
    ///
    /// - Parameters:
    ///   - lost: The indices of the requests whose users have lost the right.
    ///   - epoch: The epoch in the same database snapshot.
    ///   - table: The watchers.
    /// - Returns: The watchers whose rights are revoked.
    mutating func completedSweep(
        lost: Set<Int>, under epoch: Int64, in table: WatcherTable
    ) -> [WatcherRequest] {
        guard let requests = underWay else { return [] }
        underWay = nil
        var revoked: [WatcherRequest] = []
        for (index, request) in requests.enumerated() where table.state(of: request.watcher).hasBegun {
            if lost.contains(index) {
                revoked.append(request)
            } else {
                confirm(request.watcher, under: epoch)
            }
        }
        return revoked
    }

    /// The sweep under way failed: the next one checks all watchers again.
    mutating func failedSweep() {
        guard underWay != nil else { return }
        underWay = nil
        cursor = 0
    }
}

extension Rights.Sweep {
    fileprivate mutating func add(_ id: WatcherID, in table: WatcherTable) {
        if let request = WatcherRequest(id, in: table) {
            watchers.append(request)
        } else if table.isFollower(id) {
            followers.append(id)
        }
    }
}
