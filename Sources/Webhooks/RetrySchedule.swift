/// When a delivery is tried again after a failed attempt.
///
/// The times are those that Standard Webhooks proposes, for somewhat less than a day. After seven attempts, the delivery is given up.
enum RetrySchedule {
    /// The pauses after the first attempt, the second, and so on.
    static let pauses: [Duration] = [5, 300, 1800, 7200, 18_000, 36_000].map { .seconds($0) }

    /// By which part of a pause the next attempt may be earlier or later.
    ///
    /// The deliveries that failed together must not all come back together.
    static let jitter = 0.1

    /// The pause before the next attempt.
    ///
    /// - Parameters:
    ///   - attempts: How many attempts of the schedule have failed, 1 or more.
    ///   - chance: A random number from -1 to 1.
    /// - Returns: The pause; nil if the delivery is given up.
    static func pause(after attempts: Int, chance: Double) -> Duration? {
        guard pauses.indices.contains(attempts - 1) else { return nil }
        return pauses[attempts - 1] * (1 + jitter * min(max(chance, -1), 1))
    }
}
