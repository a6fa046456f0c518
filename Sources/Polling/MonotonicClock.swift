/// A clock whose moments are those of `ContinuousClock`.
///
/// Every component measures durations and waits for deadlines by the clock that it was given. The program gives all of
/// them a `ContinuousClock`. A test gives them a clock that it moves by hand, and an hour takes no time. A poller owns
/// the clock of its deadlines, and everything that runs on the poller uses that clock.
public protocol MonotonicClock: Clock where Instant == ContinuousClock.Instant {
    /// Adds a closure that the clock calls after each jump, because a sleeping thread cannot see one.
    ///
    /// A clock that never jumps ignores it.
    ///
    /// - Parameter wake: The closure.
    func onJump(_ wake: @escaping @Sendable () -> Void)
}

extension ContinuousClock: MonotonicClock {
    /// Does nothing, because this clock never jumps.
    public func onJump(_: @escaping @Sendable () -> Void) {}
}
