import Domain

/// Where transaction ids have a meaning: in one cluster, and on one of its timelines.
///
/// After a restore or a promotion, another history begins, and may use the same ids again.
public struct DatabaseTimeline: Sendable, Hashable {
    /// The identifier that `initdb` gave to the cluster (manual, 9.27.10, `pg_control_system`).
    let cluster: Int64
    /// The number of the timeline, which a promotion raises (manual, 26.3.5).
    let number: Int32
}

/// What a read showed: everything that certain transactions have committed.
///
/// On one timeline, every later snapshot shows everything that an earlier one does.
public struct DatabaseSnapshot: Sendable, Hashable {
    /// The timeline of the transactions.
    public let timeline: DatabaseTimeline
    /// The oldest transaction that was in progress: the snapshot shows all before it (`pg_snapshot_xmin`).
    public let oldest: Int64
    /// The first transaction that the snapshot does not show, nor any after it (`pg_snapshot_xmax`).
    let next: Int64
    /// The transactions between these two that were in progress, in rising order (`pg_snapshot_xip`).
    let inProgress: [Int64]

    init(on timeline: DatabaseTimeline, oldest: Int64, next: Int64, inProgress: [Int64] = []) {
        self.timeline = timeline
        self.oldest = oldest
        self.next = next
        self.inProgress = inProgress
    }

    /// Reads a snapshot as PostgreSQL writes it: `xmin:xmax:xip,xip` (manual, 9.27.8, `pg_snapshot`).
    ///
    /// - Parameters:
    ///   - text: The snapshot.
    ///   - timeline: The timeline on which it was taken.
    init?(_ text: String, on timeline: DatabaseTimeline) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, let oldest = Int64(digits: parts[0]), let next = Int64(digits: parts[1]) else {
            return nil
        }
        let inProgress = parts[2].split(separator: ",")
        self.init(
            on: timeline, oldest: oldest, next: next, inProgress: inProgress.compactMap { Int64(digits: $0) })
        guard self.inProgress.count == inProgress.count else { return nil }
    }

    /// The snapshot as PostgreSQL writes it.
    var text: String { "\(oldest):\(next):" + inProgress.map(String.init).joined(separator: ",") }

    /// Whether the snapshot shows what a transaction has committed (`pg_visible_in_snapshot`).
    public func shows(_ transaction: Int64) -> Bool {
        guard transaction >= oldest else { return true }
        return transaction < next && !inProgress.contains(transaction)
    }

    /// Whether another snapshot of the same timeline was taken later, and may show more.
    ///
    /// `xmax` never falls. While it stays, the transactions in progress can only end.
    public func precedes(_ other: DatabaseSnapshot) -> Bool {
        (next, -inProgress.count) < (other.next, -other.inProgress.count)
    }
}
