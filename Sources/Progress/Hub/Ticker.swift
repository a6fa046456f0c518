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
