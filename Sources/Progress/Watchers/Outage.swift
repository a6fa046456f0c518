import Domain

/// Whether reads fail, when the hub may read again, and which watchers know about it.
///
/// While reads fail, everything that is wanted stays wanted. The hub waits before each attempt.
struct Outage {
    /// A read has failed, and none has succeeded since.
    private(set) var isDegraded = false
    /// The hub begins no read before this moment; nil if it may read.
    ///
    /// A read that began earlier may succeed before this moment. The watchers then get `recovered` at once, and the moment
    /// stays.
    private(set) var retryAt: ContinuousClock.Instant?
    private var backoff = Backoff()
    /// The watchers that got ``WatcherMessage/degraded`` and no ``WatcherMessage/recovered`` since.
    private var knows = Column(initial: false)

    /// The memory of one watcher in this sub-machine, in bytes.
    static let bytesPerWatcher = MemoryLayout<Bool>.stride

    /// Whether reads may begin.
    var mayRead: Bool { retryAt == nil }

    mutating func begin(_ id: WatcherID) { knows[Int(id.slot)] = false }

    /// A read has failed.
    ///
    /// - Parameters:
    ///   - now: The present moment.
    ///   - jitter: The part of the delay for which the hub waits, from 0 to 1.
    ///   - table: The watchers.
    /// - Returns: The message to the watchers that do not know about it.
    mutating func failed(at now: ContinuousClock.Instant, jitter: Double, in table: WatcherTable) -> Delivery? {
        isDegraded = true
        if retryAt == nil { retryAt = now + backoff.next() * jitter }
        return notify(table)
    }

    /// A read has succeeded.
    ///
    /// - Parameter table: The watchers.
    /// - Returns: The message to the watchers that know about the failure.
    mutating func succeeded(in table: WatcherTable) -> Delivery? {
        backoff.reset()
        guard isDegraded else { return nil }
        isDegraded = false
        return notify(table)
    }

    /// Ends the wait if its moment has come.
    mutating func timeIs(_ now: ContinuousClock.Instant) {
        if let moment = retryAt, moment <= now { retryAt = nil }
    }

    /// A watcher has room: it gets the message that it has missed.
    mutating func unblocked(_ id: WatcherID) -> Delivery? {
        guard knows[Int(id.slot)] != isDegraded else { return nil }
        knows[Int(id.slot)] = isDegraded
        return Delivery(isDegraded ? .degraded : .recovered, to: [id])
    }

    /// A watcher had no room for a message.
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

/// The delays between two attempts to read: 100 ms, then twice as long each time, up to 2 s.
///
/// The hub waits for a random part of a delay, from a half to all of it. Servers that fail together therefore do not read
/// again together.
struct Backoff {
    private var delay = Duration.milliseconds(100)

    mutating func reset() { delay = .milliseconds(100) }

    mutating func next() -> Duration {
        defer { delay = min(delay * 2, .seconds(2)) }
        return delay
    }
}
