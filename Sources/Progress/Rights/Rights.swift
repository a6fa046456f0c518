import Domain
import Store

/// Which watchers have to be asked whether they still have their right, and which of them may be written to meanwhile.
///
/// Each read brings the epoch of rights from its own database snapshot. A watcher gets rows of a snapshot only if its right
/// was seen under the very same epoch. Of every other watcher the writes are suspended until its answer is here: that of a
/// catch-up, of a sweep, or for a follower that of its caseload.
///
/// The rest of the hub asks ``permits(_:under:)`` before it writes, tells ``saw(epoch:)`` and ``confirm(_:under:)`` what a
/// read has shown, and takes from ``nextSweep(in:limit:)`` the watchers that have to be asked.
struct Rights {
    /// The watchers that have to be asked.
    struct Sweep {
        /// Watchers of one session: one read asks about them all.
        var watchers: [WatcherRequest] = []
        /// Followers: each has its caseload read again.
        var followers: [WatcherID] = []
    }

    /// The newest epoch that any read has shown.
    private(set) var epoch: Int64 = 0
    /// The epoch under which the right of each watcher was last seen.
    private var confirmed = Column(initial: Int64(0))
    /// The watchers that the sweep under way asks about.
    private var underWay: [WatcherRequest]?
    /// The next slot to look at for watchers that were seen under an older epoch; nil when there are none.
    private var cursor: Int?
    /// The last slot that the regular check looked at.
    private var regularCursor = 0
    /// How many slots the regular check still has to look at now; a fraction waits for the next time.
    private var regularDue = 0.0

    /// The memory of one watcher here, in bytes.
    static let bytesPerWatcher = MemoryLayout<Int64>.stride

    // MARK: - What reads show

    /// A read has shown an epoch: every watcher that was seen under an older one has to be asked.
    mutating func saw(epoch seen: Int64) {
        guard seen > epoch else { return }
        epoch = seen
        cursor = 0
    }

    /// A watcher begins, with a snapshot that shows its right under an epoch.
    mutating func begin(_ id: WatcherID, under epoch: Int64) {
        saw(epoch: epoch)
        confirmed[Int(id.slot)] = epoch
    }

    /// A read has shown a watcher's right under an epoch.
    mutating func confirm(_ id: WatcherID, under epoch: Int64) {
        confirmed[Int(id.slot)] = max(confirmed[Int(id.slot)], epoch)
    }

    // MARK: - Who may be written to

    /// Whether a watcher may get rows of a database snapshot with an epoch.
    ///
    /// Under an older epoch than that of its answer it may have been without the right. Under a newer one it may be without
    /// by now, also if only another read has shown that one.
    func permits(_ id: WatcherID, under epoch: Int64) -> Bool {
        confirmed[Int(id.slot)] == epoch && epoch == self.epoch
    }

    /// Whether no read has shown a newer epoch than that of a watcher's answer.
    func isCurrent(_ id: WatcherID) -> Bool { confirmed[Int(id.slot)] >= epoch }

    /// Whether a watcher's answer is of a newer epoch.
    func isConfirmed(_ id: WatcherID, after epoch: Int64) -> Bool { confirmed[Int(id.slot)] > epoch }

    // MARK: - Sweeps

    /// Part of the regular check is due, which finds the ends of rights that change no row: a sign-in that has expired.
    ///
    /// - Parameter share: How large a part of all watchers, from 0 to 1.
    mutating func regularCheckIsDue(share: Double, in table: WatcherTable) {
        regularDue = min(Double(table.count), regularDue + Double(table.count) * share)
    }

    /// The watchers to ask about next; none of one session while a sweep is under way.
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

    /// The answer to the sweep under way.
    ///
    /// - Parameters:
    ///   - lost: The indices of those who have lost their right, among the requests.
    ///   - epoch: The epoch in the same snapshot.
    /// - Returns: The watchers whose rights are revoked.
    mutating func completedSweep(
        lost: Set<Int>, under epoch: Int64, in table: WatcherTable
    ) -> [WatcherRequest] {
        guard let asked = underWay else { return [] }
        underWay = nil
        var revoked: [WatcherRequest] = []
        for (index, request) in asked.enumerated() where table.state(of: request.watcher).hasBegun {
            if lost.contains(index) {
                revoked.append(request)
            } else {
                confirm(request.watcher, under: epoch)
            }
        }
        return revoked
    }

    /// The sweep under way failed: all are looked at again.
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
