import Logging
import Metrics
import Polling
import Prometheus
import ServiceLifecycle
import Store
import Synchronization

/// Reads from the database, for the metrics, how many sessions wait for a worker, and how many audit records there are.
///
/// Every server reads it, and each of them shows the same numbers.
struct BacklogReader: Service {
    /// The pause between two reads.
    private static let interval = Duration.seconds(10)

    private let stores: Stores
    private let waiting: Gauge
    private let oldest: Gauge
    private let auditRecords = LastCount()
    private let clock: any MonotonicClock
    private let logger: Logger

    init(stores: Stores, metrics: PrometheusRegistry, clock: any MonotonicClock, logger: Logger) {
        self.stores = stores
        self.clock = clock
        self.logger = logger
        waiting = Gauge(label: "therapybridge_queue_waiting", factory: metrics)
        oldest = Gauge(label: "therapybridge_queue_oldest_seconds", factory: metrics)
        // A counter that began at 0 and then had the number of the database would look like a million records at once.
        metrics.addCollector { [auditRecords] in
            auditRecords.value.map { [.counter("therapybridge_audit_records_total", $0)] } ?? []
        }
    }

    func run() async throws {
        await repeatUntilShutdown(
            every: Self.interval, on: clock, logger, failure: "the queue is not measured; trying again"
        ) { try await read() }
    }

    private func read() async throws {
        let backlog = try await stores.queue.backlog()
        waiting.record(backlog.waiting)
        oldest.record(backlog.oldest / .seconds(1))
        auditRecords.set(try await stores.audit.recordCount())
    }
}

/// A number that is not known before the first read.
private final class LastCount: Sendable {
    private let count = Mutex<Int?>(nil)

    var value: Int? { count.withLock { $0 } }

    func set(_ value: Int) { count.withLock { $0 = value } }
}
