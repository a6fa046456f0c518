/// Finds out whether anything was committed since it last looked: only then there is something to poll.
struct Poll {
    private var ticker: Ticker
    private var isWanted = false
    /// What was committed when it last looked.
    private var last: String?

    /// - Parameter interval: The time between two looks.
    init(every interval: Duration) { ticker = Ticker(every: interval) }

    var due: ContinuousClock.Instant? { ticker.due }

    mutating func start(at now: ContinuousClock.Instant) { ticker.start(at: now) }
    mutating func stop() { ticker.stop() }

    /// The time has come to look, if it has.
    mutating func timeIs(_ now: ContinuousClock.Instant, isIdle: Bool) {
        if ticker.fires(at: now), !isIdle { isWanted = true }
    }

    /// Whether a read is wanted; then it begins.
    mutating func nextRead() -> Bool {
        defer { isWanted = false }
        return isWanted
    }

    /// The read came back.
    ///
    /// - Returns: Whether anything was committed since.
    mutating func completed(_ snapshot: String) -> Bool {
        defer { last = snapshot }
        return snapshot != last
    }
}
