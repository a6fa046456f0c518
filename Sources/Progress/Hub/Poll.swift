import Store

/// When the hub polls: at an interval, and only if something was committed since the last poll.
struct Poll {
    private var ticker: Ticker
    private var isWanted = false
    /// The database snapshot of the last poll.
    private(set) var last: DatabaseSnapshot?

    /// - Parameter interval: The time between two reads of the database snapshot.
    init(every interval: Duration) { ticker = Ticker(every: interval) }

    var due: ContinuousClock.Instant? { ticker.due }

    mutating func start(at now: ContinuousClock.Instant) { ticker.start(at: now) }
    mutating func stop() { ticker.stop() }

    /// Wants a read if its moment has come and something is watched.
    mutating func timeIs(_ now: ContinuousClock.Instant, isIdle: Bool) {
        if ticker.fires(at: now), !isIdle { isWanted = true }
    }

    /// Whether a read is wanted.
    ///
    /// If it is, it begins.
    mutating func nextRead() -> Bool {
        defer { isWanted = false }
        return isWanted
    }

    /// The read succeeded.
    ///
    /// - Parameter snapshot: The database snapshot.
    /// - Returns: Whether something was committed since the last read.
    mutating func completed(_ snapshot: DatabaseSnapshot) -> Bool {
        defer { last = snapshot }
        return snapshot != last
    }
}
