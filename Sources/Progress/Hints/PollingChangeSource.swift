public import Polling

/// A source without hints, for a site that wants no `LISTEN`: it only says when it is time to look.
///
/// It costs no connection, and the commits of reports do not queue for PostgreSQL's lock on notifications. Each change is
/// as late as the next look.
public struct PollingChangeSource: ChangeSource {
    private let interval: Duration
    private let clock: any MonotonicClock

    /// A source without hints.
    ///
    /// - Parameters:
    ///   - interval: The time between two looks (`SSE_UPDATE_INTERVAL`).
    ///   - clock: The clock of the interval.
    public init(interval: Duration, clock: any MonotonicClock) {
        self.interval = interval
        self.clock = clock
    }

    /// One ``ChangeEvent/lookDue`` after each interval.
    public func events() -> AsyncStream<[ChangeEvent]> {
        AsyncStream([ChangeEvent].self, bufferingPolicy: .bufferingNewest(1)) { continuation in
            let looks = Task { [interval, clock] in
                while (try? await clock.sleep(for: interval)) != nil { continuation.yield([.lookDue]) }
                continuation.finish()
            }
            continuation.onTermination = { _ in looks.cancel() }
        }
    }
}
