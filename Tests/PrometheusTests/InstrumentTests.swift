import CoreMetrics
import TestSupport
import Testing

@testable import Prometheus

/// The series of each kind of instrument.
@Suite("Instruments", .deadline) struct InstrumentTests {
    private let registry = PrometheusRegistry()

    /// The rendered lines without comments.
    private var samples: [String] {
        registry.render().split(separator: "\n").map(String.init).filter { !$0.hasPrefix("#") }
    }

    @Test("A counter begins at 0, never falls, and is exact")
    func counter() {
        let counter = Counter(label: "a", factory: registry)
        #expect(samples == ["a_total 0"])
        counter.increment(by: -3)
        #expect(samples == ["a_total 0"])
        // A `Double` cannot tell this value from its successor.
        counter.increment(by: 1 << 53)
        counter.increment()
        #expect(samples == ["a_total 9007199254740993"])
        counter.reset()
        #expect(samples == ["a_total 0"])
    }

    @Test("A counter of fractions and one of whole numbers share a series")
    func fractions() {
        let counter = FloatingPointCounter(label: "a", factory: registry)
        counter.increment(by: 0.25)
        counter.increment(by: -1)
        counter.increment(by: Double.infinity)
        Counter(label: "a", factory: registry).increment(by: 2)
        #expect(samples == ["a_total 2.25"])
    }

    @Test("A gauge has its last value")
    func gauges() {
        let meter = Meter(label: "m", factory: registry)
        meter.set(10)
        meter.increment(by: 2.5)
        meter.decrement()
        let gauge = Gauge(label: "g", factory: registry)
        gauge.record(3)
        gauge.record(-0.5)
        #expect(samples == ["g -0.5", "m 11.5"])
    }

    @Test("A timer becomes a histogram of seconds, whose count is its last bucket")
    func timer() {
        let timer = Timer(label: "t", dimensions: [("k", "v")], preferredDisplayUnit: .milliseconds, factory: registry)
        timer.recordMilliseconds(1)  // On a bound: "le" is less or equal.
        timer.recordMicroseconds(1001)
        timer.recordSeconds(7201)
        let samples = self.samples
        #expect(samples.count == HistogramSeries.seconds.count + 3)
        #expect(samples.contains("t_seconds_bucket{k=\"v\",le=\"0.0005\"} 0"))
        #expect(samples.contains("t_seconds_bucket{k=\"v\",le=\"0.001\"} 1"))
        #expect(samples.contains("t_seconds_bucket{k=\"v\",le=\"0.0025\"} 2"))
        #expect(samples.contains("t_seconds_bucket{k=\"v\",le=\"7200\"} 2"))
        #expect(
            samples.suffix(3) == [
                "t_seconds_bucket{k=\"v\",le=\"+Inf\"} 3", "t_seconds_sum{k=\"v\"} 7201.002001",
                "t_seconds_count{k=\"v\"} 3",
            ])
    }

    @Test("A recorder becomes a histogram with increasing bounds")
    func recorder() {
        let recorder = Recorder(label: "r", factory: registry)
        recorder.record(0)
        recorder.record(3)
        recorder.record(Double.nan)
        recorder.record(Double.infinity)
        #expect(
            samples == [
                "r_bucket{le=\"1\"} 1", "r_bucket{le=\"2\"} 1", "r_bucket{le=\"5\"} 2", "r_bucket{le=\"10\"} 2",
                "r_bucket{le=\"20\"} 2", "r_bucket{le=\"50\"} 2", "r_bucket{le=\"100\"} 2", "r_bucket{le=\"200\"} 2",
                "r_bucket{le=\"500\"} 2", "r_bucket{le=\"1000\"} 2", "r_bucket{le=\"10000\"} 2",
                "r_bucket{le=\"100000\"} 2", "r_bucket{le=\"1000000\"} 2", "r_bucket{le=\"+Inf\"} 2", "r_sum 3",
                "r_count 2",
            ])
        for bounds in [HistogramSeries.seconds, HistogramSeries.sizes] { #expect(bounds == bounds.sorted()) }
    }

    @Test("No value is lost while many threads record and others read")
    func concurrency() async {
        let counter = Counter(label: "c", factory: registry)
        let fraction = FloatingPointCounter(label: "f", factory: registry)
        let meter = Meter(label: "m", factory: registry)
        let timer = Timer(label: "t", factory: registry)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<5000 {
                        counter.increment()
                        fraction.increment(by: 0.5)
                        meter.increment()
                        timer.recordSeconds(2)
                    }
                }
                group.addTask {
                    for _ in 0..<20 {
                        // An instrument that is made again shares the series. Each rendering is consistent in itself.
                        _ = Counter(label: "c", factory: registry)
                        let read = samples
                        let last = read.first { $0.hasPrefix("t_seconds_bucket{le=\"+Inf\"}") }?.split(separator: " ")
                            .last
                        #expect(last != nil)
                        #expect(last == read.first { $0.hasPrefix("t_seconds_count") }?.split(separator: " ").last)
                    }
                }
            }
        }
        let read = samples
        #expect(read.prefix(3) == ["c_total 40000", "f_total 20000", "m 40000"])
        #expect(read.suffix(2) == ["t_seconds_sum 80000", "t_seconds_count 40000"])
    }
}
