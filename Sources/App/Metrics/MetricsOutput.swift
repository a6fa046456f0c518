import Metrics
import Postgres
import Progress
public import Prometheus

/// Sets up metrics for the whole process.
public enum MetricsOutput {
    /// Makes the registry of one server, with the descriptions of all metrics.
    public static func registry() -> PrometheusRegistry {
        let registry = PrometheusRegistry(
            descriptions: Dictionary(uniqueKeysWithValues: MetricDescriptions.all.map { ($0.name, $0.meaning) }))
        registry.addCollector { [weak registry] in
            [.counter("therapybridge_metrics_refused_total", registry?.refusals ?? 0)]
        }
        return registry
    }

    /// Makes the registry of a process that runs one server, and gives it to the libraries of the process.
    ///
    /// The project's own modules receive the registry as a parameter, because several servers may share a process in
    /// tests.
    public static func bootstrap() -> PrometheusRegistry {
        let registry = registry()
        MetricsSystem.bootstrap(registry)
        return registry
    }
}

/// Values that other modules keep, read when Prometheus scrapes.
extension PrometheusRegistry {
    /// Serves the statistics of a pool of database connections.
    func collect(from pool: PostgresPool, size: Int) {
        addCollector { [weak pool] in
            guard let statistics = pool?.statistics else { return [] }
            return [
                .gauge("therapybridge_pool_connections", statistics.idle, [("state", "idle")]),
                .gauge("therapybridge_pool_connections", statistics.lent, [("state", "leased")]),
                .gauge("therapybridge_pool_max_connections", size),
                .gauge("therapybridge_pool_opening_connections", statistics.connecting),
                .gauge("therapybridge_pool_waiting", statistics.waiting),
                .counter("therapybridge_pool_connections_opened_total", statistics.openedTotal),
                .counter("therapybridge_pool_connect_failures_total", statistics.connectFailuresTotal),
                .counter("therapybridge_pool_leases_total", statistics.loansTotal),
                .counter("therapybridge_pool_exhausted_total", statistics.exhaustedTotal),
            ]
        }
    }

    /// Serves how many lines of the log were dropped.
    func collect(from log: LogWriter) {
        addCollector { [.counter("therapybridge_log_lines_dropped_total", log.droppedLines)] }
    }

    /// Serves the statistics of the listener.
    func collect(from listener: PostgresListener) {
        addCollector { [weak listener] in
            guard let listener else { return [] }
            let statistics = listener.statistics
            return [
                .gauge("therapybridge_listener_live", listener.isLive ? 1 : 0),
                // The first connection is not a reconnect.
                .counter("therapybridge_listener_reconnects_total", max(0, statistics.livePeriods - 1)),
                .counter("therapybridge_listener_failures_total", statistics.failures),
                .counter("therapybridge_listener_notifications_total", statistics.notifications),
                .counter("therapybridge_listener_overflows_total", statistics.overflows),
            ]
        }
    }

    /// Serves how far the hub is behind.
    func collect(from delays: HubDelays) {
        addCollector {
            [
                .gauge("therapybridge_hint_oldest_seconds", delays.oldestHint / .seconds(1)),
                .gauge("therapybridge_feed_lag_seconds", delays.feedLag / .seconds(1)),
            ]
        }
    }

    /// Serves readings of the process, and the version of the program.
    func collectProcess() {
        addCollector {
            var values: [CollectedValue] = [
                .gauge("therapybridge_build_info", 1, [("version", Release.version), ("schema", Release.schema)]),
                .counter("therapybridge_process_cpu_seconds_total", ProcessReadings.processorSeconds()),
            ]
            // "Client libraries SHOULD prefer leaving out the corresponding metric over exporting bogus, inaccurate, or
            // special values" (writing client libraries, process metrics).
            if let bytes = ProcessReadings.residentBytes() {
                values.append(.gauge("therapybridge_process_resident_memory_bytes", bytes))
            }
            if let count = ProcessReadings.openDescriptors() {
                values.append(.gauge("therapybridge_process_open_descriptors", count))
            }
            if let limit = ProcessReadings.descriptorLimit() {
                values.append(.gauge("therapybridge_process_max_descriptors", limit))
            }
            if let start = ProcessReadings.startTime {
                values.append(.gauge("therapybridge_process_start_time_seconds", start))
            }
            return values
        }
    }
}
