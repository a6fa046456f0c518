import Domain

/// Whether reads work, when they may be tried again after a failure, and which watchers know of it.
///
/// While reads fail, everything that is wanted stays wanted, and one try at a time waits for its moment.
struct Trouble {
    /// Reads have failed, and none has worked since.
    private(set) var isDegraded = false
    /// Nothing is read before this moment; nil when reads may begin.
    ///
    /// A read that was under way may work before it has come: watchers hear of that at once, and the moment stays.
    private(set) var retryAt: ContinuousClock.Instant?
    private var backoff = Backoff()
    /// The watchers whose last message of this kind was ``WatcherMessage/degraded``.
    private var knows = Column(initial: false)

    /// The memory of one watcher here, in bytes.
    static let bytesPerWatcher = MemoryLayout<Bool>.stride

    /// Whether reads may begin.
    var mayRead: Bool { retryAt == nil }

    mutating func begin(_ id: WatcherID) { knows[Int(id.slot)] = false }

    /// A read has failed.
    ///
    /// - Parameter jitter: Between 0 and 1: how much of the delay before the next try is waited for.
    /// - Returns: The message to those who do not know it yet.
    mutating func failed(at now: ContinuousClock.Instant, jitter: Double, in table: WatcherTable) -> Delivery? {
        isDegraded = true
        if retryAt == nil { retryAt = now + backoff.next() * jitter }
        return notify(table)
    }

    /// A read has worked.
    ///
    /// - Returns: The message to those who know of the failure.
    mutating func succeeded(in table: WatcherTable) -> Delivery? {
        backoff.reset()
        guard isDegraded else { return nil }
        isDegraded = false
        return notify(table)
    }

    /// The time has come to try again, if it has.
    mutating func timeIs(_ now: ContinuousClock.Instant) {
        if let moment = retryAt, moment <= now { retryAt = nil }
    }

    /// A watcher has room, and hears how things stand if it does not know.
    mutating func unblocked(_ id: WatcherID) -> Delivery? {
        guard knows[Int(id.slot)] != isDegraded else { return nil }
        knows[Int(id.slot)] = isDegraded
        return Delivery(isDegraded ? .degraded : .recovered, to: [id])
    }

    /// A watcher had no room for such a message.
    mutating func refused(_ message: WatcherMessage, by id: WatcherID) {
        switch message {
        case .degraded: knows[Int(id.slot)] = false
        case .recovered: knows[Int(id.slot)] = true
        case .state, .caseload, .revoked, .expired, .reconnect: break
        }
    }

    private mutating func notify(_ table: WatcherTable) -> Delivery? {
        var watchers: [WatcherID] = []
        for slot in 0..<table.count {
            let id = table.id(at: slot)
            guard table.state(of: id).isReady, knows[slot] != isDegraded else { continue }
            knows[slot] = isDegraded
            watchers.append(id)
        }
        return watchers.isEmpty ? nil : Delivery(isDegraded ? .degraded : .recovered, to: watchers)
    }
}
