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

/// A moment that repeats at an interval.
struct Ticker {
    let interval: Duration
    /// The next moment; nil before ``start(at:)`` and after ``stop()``.
    private(set) var due: ContinuousClock.Instant?

    init(every interval: Duration) { self.interval = interval }

    mutating func start(at now: ContinuousClock.Instant) { due = now + interval }
    mutating func stop() { due = nil }

    /// Whether the moment has come.
    ///
    /// If it has, the next one is an interval from now.
    mutating func fires(at now: ContinuousClock.Instant) -> Bool {
        guard let due, due <= now else { return false }
        self.due = now + interval
        return true
    }
}

/// The earlier of two moments; nil means never.
func earlier(
    _ one: ContinuousClock.Instant?, _ other: ContinuousClock.Instant?
) -> ContinuousClock.Instant? {
    guard let one, let other else { return one ?? other }
    return min(one, other)
}
