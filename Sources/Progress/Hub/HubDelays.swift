import Polling
import Synchronization

/// How far the hub is behind at present.
///
/// The hub writes it after each event. Any thread reads it, such as the one that answers a scrape.
public final class HubDelays: Sendable {
    private let clock: any MonotonicClock
    private let beginning: ContinuousClock.Instant
    /// Moments in microseconds since ``beginning``; ``none`` if nothing waits.
    private let hint = Atomic<Int64>(HubDelays.none)
    private let feed = Atomic<Int64>(HubDelays.none)
    private static let none = Int64.min

    init(clock: any MonotonicClock) {
        self.clock = clock
        beginning = clock.now
    }

    /// The age of the oldest hint whose session the hub has not read since; zero if there is none.
    public var oldestHint: Duration { age(hint) }

    /// How long the streams of all sessions have been behind: the age of the oldest reason to read for them that no read has
    /// answered; zero if there is none.
    public var feedLag: Duration { age(feed) }

    private func age(_ moment: borrowing Atomic<Int64>) -> Duration {
        let since = moment.load(ordering: .relaxed)
        guard since != Self.none else { return .zero }
        return max(.zero, clock.now - beginning - .microseconds(since))
    }

    func note(oldestHint: ContinuousClock.Instant?, feedBehindSince: ContinuousClock.Instant?) {
        hint.store(microseconds(oldestHint), ordering: .relaxed)
        feed.store(microseconds(feedBehindSince), ordering: .relaxed)
    }

    private func microseconds(_ moment: ContinuousClock.Instant?) -> Int64 {
        guard let moment else { return Self.none }
        let (seconds, attoseconds) = (moment - beginning).components
        return seconds * 1_000_000 + attoseconds / 1_000_000_000_000
    }
}
