import CoreMetrics
import Synchronization
import Testing

@testable import Prometheus

/// Which series exist: shared, bounded, refused and collected ones.
@Suite("Registry") struct RegistryTests {
    private let registry = PrometheusRegistry(seriesLimit: 2)

    private var samples: [String] {
        registry.render().split(separator: "\n").map(String.init).filter { !$0.hasPrefix("#") }
    }

    @Test("A series is known by its labels in any order")
    func sameSeries() {
        Counter(label: "a", dimensions: [("x", "1"), ("y", "2")], factory: registry).increment()
        Counter(label: "a_total", dimensions: [("y", "2"), ("x", "1")], factory: registry).increment()
        #expect(samples == ["a_total{x=\"1\",y=\"2\"} 2"])
        #expect(registry.refusals == 0)
    }

    @Test("A series outlives its instrument")
    func destroyed() {
        let counter = Counter(label: "a", factory: registry)
        counter.increment()
        counter.destroy()
        Counter(label: "a", factory: registry).increment()
        #expect(samples == ["a_total 2"])
    }

    @Test("Series beyond the limit share the series `other`, and are counted")
    func limit() {
        for value in 1...5 { Counter(label: "a", dimensions: [("x", "\(value)")], factory: registry).increment() }
        #expect(samples == ["a_total{x=\"1\"} 1", "a_total{x=\"2\"} 1", "a_total{x=\"other\"} 3"])
        #expect(registry.refusals == 3)
        // Existing series and other metrics are not affected.
        Counter(label: "a", dimensions: [("x", "2")], factory: registry).increment()
        Counter(label: "b", dimensions: [("x", "5")], factory: registry).increment()
        #expect(samples.suffix(3) == ["a_total{x=\"2\"} 2", "a_total{x=\"other\"} 3", "b_total{x=\"5\"} 1"])
        #expect(registry.refusals == 3)
    }

    @Test("A second kind or other labels under one name are refused")
    func conflicts() {
        Gauge(label: "a_total", factory: registry).record(1)
        Counter(label: "a", factory: registry).increment(by: 7)
        Gauge(label: "a_total", dimensions: [("x", "1")], factory: registry).record(7)
        Recorder(label: "b_seconds", factory: registry).record(1)
        Timer(label: "b", factory: registry).recordSeconds(7)
        #expect(samples.first == "a_total 1")
        #expect(samples.last == "b_seconds_count 1")
        #expect(registry.refusals == 3)
    }

    @Test("Collected values are read with each rendering")
    func collectors() {
        let reads = Mutex(0)
        registry.addCollector {
            let number = reads.withLock { reads in
                reads += 1
                return reads
            }
            return [
                .counter("c", number), .counter("s_seconds", 0.5), .gauge("b", 2.5, [("k", "v")]),
                .gauge("b", 3, [("k", "w")]),
            ]
        }
        Gauge(label: "a", factory: registry).record(1)
        let rendered = registry.render()
        #expect(
            rendered == """
                # TYPE a gauge
                a 1
                # TYPE b gauge
                b{k="v"} 2.5
                b{k="w"} 3
                # TYPE c_total counter
                c_total 1
                # TYPE s_seconds_total counter
                s_seconds_total 0.5

                """)
        #expect(samples.contains("c_total 2"))
        #expect(registry.refusals == 0)
    }

    @Test("A collected value replaces neither a series nor a metric of another kind")
    func collectedConflicts() {
        Counter(label: "a", factory: registry).increment()
        registry.addCollector { [.counter("a", 9), .gauge("a_total", 9), .gauge("b", 1), .gauge("b", 2)] }
        #expect(samples == ["a_total 1", "b 1"])
        #expect(registry.refusals == 3)
    }

    /// A collector may read the registry itself.
    @Test("Collectors are called without the lock")
    func collectorsMayAsk() {
        let registry = PrometheusRegistry()
        registry.addCollector { [weak registry] in [.counter("refusals", registry?.refusals ?? 0)] }
        #expect(registry.render() == "# TYPE refusals_total counter\nrefusals_total 0\n")
    }
}
