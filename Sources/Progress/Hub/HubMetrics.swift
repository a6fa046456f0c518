import CoreMetrics
import Domain

/// The counters and histograms of the hub.
struct HubMetrics: Sendable {
    private let hints: Counter
    private let reads: Counter
    private let deliveries: Counter
    private let backstop: Counter
    private let rejectedTotal: Counter
    private let commitToWire: [ShownChange.Streams: [ShownChange.Cause.Label: CoreMetrics.Timer]]
    private let hintToWire: [ShownChange.Streams: CoreMetrics.Timer]
    private let resyncDuration: CoreMetrics.Timer

    init(factory: any MetricsFactory) {
        hints = Counter(label: "therapybridge_hints_total", factory: factory)
        reads = Counter(label: "therapybridge_hub_reads_total", factory: factory)
        deliveries = Counter(label: "therapybridge_deliveries_total", factory: factory)
        backstop = Counter(label: "therapybridge_backstop_delivered_total", factory: factory)
        rejectedTotal = Counter(label: "therapybridge_streams_turned_away_total", factory: factory)
        commitToWire = Self.each { streams in
            Self.each { cause in
                CoreMetrics.Timer(
                    label: "therapybridge_commit_to_wire_seconds",
                    dimensions: [("streams", streams.rawValue), ("found_by", cause.rawValue)], factory: factory)
            }
        }
        hintToWire = Self.each { streams in
            CoreMetrics.Timer(
                label: "therapybridge_hint_to_wire_seconds", dimensions: [("streams", streams.rawValue)],
                factory: factory)
        }
        resyncDuration = CoreMetrics.Timer(label: "therapybridge_resync_duration_seconds", factory: factory)
    }

    func hinted(_ count: Int) { hints.increment(by: count) }
    func read() { reads.increment() }
    func delivered(_ count: Int) { deliveries.increment(by: count) }
    /// Counts changes that only the poll has found.
    func foundByPoll(_ count: Int) { if count > 0 { backstop.increment(by: count) } }
    func rejected() { rejectedTotal.increment() }

    /// Records how late a change was that has just been given to the sockets.
    ///
    /// - Parameters:
    ///   - change: The change.
    ///   - now: The present moment.
    ///   - time: The present time of the server. The clock of the database may be ahead of it: a change is never early.
    func shown(_ change: ShownChange, at now: ContinuousClock.Instant, time: Timestamp) {
        commitToWire[change.streams]?[change.cause.label]?
            .recordNanoseconds(max(.zero, time.duration(since: change.changedAt)).nanoseconds)
        if case .hint(let moment) = change.cause {
            hintToWire[change.streams]?.recordNanoseconds((now - moment).nanoseconds)
        }
    }

    /// Records how long a resync took.
    func resynced(after duration: Duration) { resyncDuration.recordNanoseconds(duration.nanoseconds) }

    /// Makes a value for each case, so that all series exist from the start.
    private static func each<Key: CaseIterable & Hashable, Value>(_ make: (Key) -> Value) -> [Key: Value] {
        Dictionary(uniqueKeysWithValues: Key.allCases.map { ($0, make($0)) })
    }
}

extension Duration {
    /// The whole nanoseconds.
    ///
    /// A `Timer` of `CoreMetrics` takes no duration.
    fileprivate var nanoseconds: Int64 { components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000 }
}
