import Synchronization

/// The accesses of the last ten minutes, shared by the stores of a process.
///
/// ``AuditStore`` and ``ProgressStore`` ask it which accesses to record at once. The batcher takes the counted repeats and has
/// ``AuditStore/record(_:)`` append them.
public final class AccessMerger: Sendable {
    private let merging: Mutex<AccessMerging>
    private let now: @Sendable () -> ContinuousClock.Instant

    /// A merger that measures time with a clock.
    ///
    /// - Parameter now: Returns the present moment of the clock.
    public convenience init(now: @escaping @Sendable () -> ContinuousClock.Instant) {
        self.init(limits: AccessMerging.Limits(), now: now)
    }

    init(limits: AccessMerging.Limits, now: @escaping @Sendable () -> ContinuousClock.Instant) {
        merging = Mutex(AccessMerging(limits: limits))
        self.now = now
    }

    /// A merger that merges nothing: every access is recorded at once.
    public static var off: AccessMerger {
        AccessMerger(limits: AccessMerging.Limits(kinds: 0), now: { ContinuousClock().now })
    }

    /// Which outcomes of an access need a record of their own.
    struct Plan: Sendable {
        let access: AuditedAccess
        /// True if the access needs a record when it is allowed.
        let recordsAllowed: Bool
        /// True if the access needs a record when it is refused.
        let recordsRefused: Bool
        /// A moment before the record is written.
        let moment: ContinuousClock.Instant

        func records(_ isAllowed: Bool) -> Bool { isAllowed ? recordsAllowed : recordsRefused }
    }

    /// Plans which outcomes of accesses to record.
    func plan(_ accesses: some Sequence<AuditedAccess>) -> [Plan] {
        let now = now()
        return merging.withLock { merging in
            accesses.map { access in
                Plan(
                    access: access, recordsAllowed: merging.isFirst(access, isAllowed: true, at: now),
                    recordsRefused: merging.isFirst(access, isAllowed: false, at: now), moment: now)
            }
        }
    }

    /// Accesses have the outcomes that were planned: their records are written, or they are repeats.
    func settle(_ outcomes: some Sequence<(plan: Plan, isAllowed: Bool)>) {
        merging.withLock { merging in
            for (plan, isAllowed) in outcomes {
                if plan.records(isAllowed) {
                    merging.recorded(plan.access, isAllowed: isAllowed, at: plan.moment)
                } else {
                    merging.repeated(plan.access, isAllowed: isAllowed, at: plan.moment)
                }
            }
        }
    }

    /// Takes the repeats whose windows end within a time from now.
    ///
    /// - Parameter time: The time until the next call.
    /// - Returns: The repeats, and the present moment.
    func take(endingWithin time: Duration) -> (repeats: [RepeatedAccess], now: ContinuousClock.Instant) {
        let now = now()
        return (merging.withLock { $0.takeEnded(at: now + time) }, now)
    }

    /// Gives back repeats whose record could not be written.
    func giveBack(_ repeats: [RepeatedAccess]) { merging.withLock { $0.giveBack(repeats) } }

    /// Ends the merging: from now on, every access is recorded at once.
    func close() { merging.withLock { $0.close() } }
}
