import Metrics
public import Prometheus

/// Sets up metrics for the whole process.
public enum MetricsOutput {
    /// A registry for one server, which knows what our metrics mean.
    public static func registry() -> PrometheusRegistry {
        let registry = PrometheusRegistry(descriptions: MetricDescriptions.all)
        registry.addCollector { [weak registry] in
            [.counter("therapybridge_metrics_refused_total", registry?.refusals ?? 0)]
        }
        return registry
    }

    /// Makes the registry of a process that is one server, and the place where libraries record.
    ///
    /// Our own parts are given the registry and never ask for the global one: several servers may share a process.
    public static func bootstrap() -> PrometheusRegistry {
        let registry = registry()
        MetricsSystem.bootstrap(registry)
        return registry
    }
}
