import Polling

/// Asks again and again for the right of a caller whose download takes long.
///
/// This is no new access: it leaves no record in the audit log.
struct RightConfirmation {
    /// How long a download goes on before the server asks again.
    private static let interval = Duration.seconds(30)

    private let clock: any MonotonicClock
    private var confirmedAt: ContinuousClock.Instant

    /// Begins a download to which the caller has the right.
    init(by clock: any MonotonicClock) {
        self.clock = clock
        confirmedAt = clock.now
    }

    /// Asks if it is time.
    ///
    /// - Parameter ask: Throws ``LostRight`` if the caller has lost the right.
    /// - Throws: What `ask` throws.
    mutating func ifDue(_ ask: () async throws -> Void) async throws {
        guard clock.now - confirmedAt >= Self.interval else { return }
        try await ask()
        confirmedAt = clock.now
    }
}

/// The caller of a download has lost the right to it.
struct LostRight: Error, CustomStringConvertible {
    let description: String
}
