/// A clock whose moments are those of `ContinuousClock`.
///
/// Every component measures durations and waits for deadlines by the clock that it was given, and by no other. The
/// program gives all of them a `ContinuousClock`; a test gives them a clock that it moves by hand, so that an hour
/// costs no time. A poller owns the clock by which its deadlines are due, and what lives on a poller uses that one.
public protocol MonotonicClock: Clock where Instant == ContinuousClock.Instant {
    /// Adds a closure that the clock calls after each jump, because a sleeping thread cannot see one.
    ///
    /// A clock that only runs ignores it.
    func onJump(_ wake: @escaping @Sendable () -> Void)
}

extension ContinuousClock: MonotonicClock {
    /// Does nothing: this clock never jumps.
    public func onJump(_: @escaping @Sendable () -> Void) {}
}
