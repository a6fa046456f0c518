import CoreMetrics
import Domain
import Store

/// The metrics of deliveries.
struct WebhookMetrics: Sendable {
    private let delivered: Counter
    private let givenUp: Counter
    private let successes: Counter
    private let failures: [WebhookFailure: Counter]
    private let pending: Gauge
    private let oldest: Gauge

    init(factory: any MetricsFactory) {
        func counter(_ name: String, _ label: String, _ value: String) -> Counter {
            Counter(label: name, dimensions: [(label, value)], factory: factory)
        }
        let deliveries = "therapybridge_webhook_deliveries_total"
        delivered = counter(deliveries, "outcome", "delivered")
        givenUp = counter(deliveries, "outcome", "given_up")
        let attempts = "therapybridge_webhook_attempts_total"
        successes = counter(attempts, "result", "success")
        failures = Dictionary(
            uniqueKeysWithValues: WebhookFailure.allCases.map { ($0, counter(attempts, "result", $0.rawValue)) })
        pending = Gauge(label: "therapybridge_webhook_pending", factory: factory)
        oldest = Gauge(label: "therapybridge_webhook_oldest_seconds", factory: factory)
    }

    /// Counts an attempt, and the delivery if the attempt was its last one.
    func count(_ result: DeliveryResult) {
        if let failure = result.failure { failures[failure]?.increment() } else { successes.increment() }
        guard result.delay == nil else { return }
        if result.failure == nil { delivered.increment() } else { givenUp.increment() }
    }

    /// Records the unfinished deliveries of all servers.
    func record(_ backlog: WebhookOutbox.Backlog) {
        pending.record(backlog.pending)
        oldest.record(backlog.oldest / .seconds(1))
    }
}
