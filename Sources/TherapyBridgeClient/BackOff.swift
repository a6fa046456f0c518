/// How long a client waits before it tries again.
enum BackOff {
    /// The longest delay, unless the server asks for a longer one.
    static let longest = Duration.seconds(30)

    /// A delay that doubles with each failure, and is never shorter than the server asked for.
    ///
    /// Jitter spreads the clients of a server that was away.
    ///
    /// - Parameters:
    ///   - base: The delay after the first failure.
    ///   - failures: How many attempts failed before.
    ///   - minimum: What the server asked for, or nil.
    ///   - jitter: From 0 to 1; by default a random number.
    /// - Returns: The delay.
    static func delay(
        _ base: Duration, failures: Int, minimum: Duration? = nil, jitter: Double = .random(in: 0...1)
    ) -> Duration {
        let doubled = min(longest, base * (1 << min(failures, 16)))
        return max(doubled, base, minimum ?? .zero) * (1 + jitter / 2)
    }
}
