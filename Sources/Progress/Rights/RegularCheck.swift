/// When the hub checks the rights of watchers although nothing shows a change: some watchers every second, and each watcher
/// once in 30 seconds.
struct RegularCheck {
    private static let interval = Duration.seconds(30)

    private var ticker = Ticker(every: .seconds(1))

    var due: ContinuousClock.Instant? { ticker.due }

    mutating func start(at now: ContinuousClock.Instant) { ticker.start(at: now) }
    mutating func stop() { ticker.stop() }

    /// The share of all watchers to check now, from 0 to 1; nil before the next second.
    mutating func share(at now: ContinuousClock.Instant) -> Double? {
        ticker.fires(at: now) ? ticker.interval / Self.interval : nil
    }
}
