/// A steady rate of actions, shared among concurrent workers.
struct Pace: Sendable {
    /// The number of all actions.
    let count: Int
    let duration: Duration
    /// The number of concurrent workers.
    let workers: Int

    init(count: Int, duration: Duration, workers: Int = 4) {
        self.count = count
        self.duration = duration
        self.workers = workers
    }

    /// A pace of `rate` actions per second.
    init(rate: Int, duration: Duration, workers: Int = 4) {
        self.init(count: Int(Double(rate) * (duration / .seconds(1))), duration: duration, workers: workers)
    }

    /// Calls `action` for each number of a worker, each at its time.
    ///
    /// The numbers are 0 to `count` - 1. A late action begins at once.
    ///
    /// - Parameters:
    ///   - worker: The number of the worker, from 0.
    ///   - skipsLate: True to leave out the actions that would begin after the duration.
    ///   - action: The action.
    /// - Throws: The error of `action`.
    func run(_ worker: Int, skipsLate: Bool = false, _ action: (Int) async throws -> Void) async throws {
        let start = ContinuousClock.now
        for number in stride(from: worker, to: count, by: workers) {
            if skipsLate, ContinuousClock.now > start + duration { return }
            try await Task.sleep(until: start + duration * (Double(number) / Double(count)), clock: .continuous)
            try await action(number)
        }
    }
}
