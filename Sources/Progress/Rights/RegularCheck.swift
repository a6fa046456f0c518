/// When watchers are asked about their rights whether or not anything has changed: a part of them every second, and each once
/// in 30 seconds.
struct RegularCheck {
    private static let interval = Duration.seconds(30)

    private var ticker = Ticker(every: .seconds(1))

    var due: ContinuousClock.Instant? { ticker.due }

    mutating func start(at now: ContinuousClock.Instant) { ticker.start(at: now) }
    mutating func stop() { ticker.stop() }

    /// How large a part of all watchers has to be asked about now; nil before the next second.
    mutating func share(at now: ContinuousClock.Instant) -> Double? {
        ticker.fires(at: now) ? ticker.interval / Self.interval : nil
    }
}
