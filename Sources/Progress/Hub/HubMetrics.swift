import CoreMetrics

/// The counters of the hub.
struct HubMetrics: Sendable {
    private let hints: Counter
    private let reads: Counter
    private let deliveries: Counter
    private let backstop: Counter
    private let rejectedTotal: Counter

    init(factory: any MetricsFactory) {
        hints = Counter(label: "therapybridge_hints_total", factory: factory)
        reads = Counter(label: "therapybridge_hub_reads_total", factory: factory)
        deliveries = Counter(label: "therapybridge_deliveries_total", factory: factory)
        backstop = Counter(label: "therapybridge_backstop_delivered_total", factory: factory)
        rejectedTotal = Counter(label: "therapybridge_streams_turned_away_total", factory: factory)
    }

    func hinted(_ count: Int) { hints.increment(by: count) }
    func read() { reads.increment() }
    func delivered(_ count: Int) { deliveries.increment(by: count) }
    /// Counts changes that only the poll has found.
    func foundByPoll(_ count: Int) { if count > 0 { backstop.increment(by: count) } }
    func rejected() { rejectedTotal.increment() }
}
