public import CoreMetrics
import Synchronization

/// The metrics of one server: a backend of swift-metrics that renders text for Prometheus.
///
/// Pass the registry to the code that records, as in `Counter(label: "…_total", factory: registry)`, and keep the
/// instrument. Recording is then one or two atomic additions without a lock. Making an instrument takes a lock. Two
/// instruments with the same label and dimensions share one series.
///
/// Names of counters end in `_total` and names of timers in `_seconds`. The registry appends a missing suffix. Timers
/// and recorders become histograms with fixed buckets. Gauges and meters become gauges.
///
/// A metric has at most `seriesLimit` series. Later ones share a series whose labels all say `other`. If a name already
/// belongs to a metric of another kind or with other labels, the instrument records into a series that is not rendered.
/// ``refusals`` counts both cases.
public final class PrometheusRegistry: MetricsFactory, Sendable {
    private struct State {
        var families: [String: Family] = [:]
        var collectors: [@Sendable () -> [CollectedValue]] = []
        var refusals = 0
    }

    private let descriptions: [String: String]
    private let seriesLimit: Int
    private let state = Mutex(State())

    /// Makes a registry without metrics.
    ///
    /// - Parameters:
    ///   - descriptions: The meanings of metrics by their full names, rendered as `HELP`.
    ///   - seriesLimit: The largest number of series of one metric, without the series `other`. The default is 1,000.
    public init(descriptions: [String: String] = [:], seriesLimit: Int = 1000) {
        self.descriptions = descriptions
        self.seriesLimit = seriesLimit
    }

    /// The media type of ``render()``.
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// The number of instruments without a series of their own.
    public var refusals: Int { state.withLock { $0.refusals } }

    /// Adds a collector of values.
    ///
    /// - Parameter collect: Returns the values. Each ``render()`` calls it, possibly on several threads at once. It
    ///   must not block. The registry keeps the closure. The closure must therefore not hold the registry strongly.
    public func addCollector(_ collect: @escaping @Sendable () -> [CollectedValue]) {
        state.withLock { $0.collectors.append(collect) }
    }

    /// Renders all metrics in the text format 0.0.4, sorted by name.
    public func render() -> String {
        var (families, collectors) = state.withLock { ($0.families, $0.collectors) }
        var refused = 0
        for value in collectors.flatMap({ $0() }) {
            var family = families[value.name] ?? Family(kind: value.kind, labelNames: value.labels.names)
            // "Each line must have a unique combination of a metric name and labels" (exposition formats, grouping).
            guard family.takes(value.kind, value.labels), family.series[value.labels] == nil else {
                refused += 1
                continue
            }
            family.series[value.labels] = CollectedSeries(value.value)
            families[value.name] = family
        }
        if refused > 0 { state.withLock { $0.refusals += refused } }

        var exposition = Exposition()
        for (name, family) in families.sorted(by: { $0.key < $1.key }) {
            exposition.begin(name, type: family.kind.type, help: descriptions[name])
            for (labels, series) in family.series.sorted(by: { $0.key < $1.key }) {
                series.write(name, labels, to: &exposition)
            }
        }
        return exposition.text
    }

    /// Finds or makes the series of a label and its dimensions.
    private func series<Made: Series>(
        _ label: String, _ dimensions: [(String, String)], _ kind: Family.Kind, _ make: () -> Made
    ) -> Made {
        let name = MetricName.metric(label, suffix: kind.suffix)
        let labels = LabelSet(dimensions)
        return state.withLock { state in
            var family = state.families[name] ?? Family(kind: kind, labelNames: labels.names)
            guard family.takes(kind, labels) else {
                state.refusals += 1
                return make()
            }
            var key = labels
            if family.series[key] == nil, family.series.count >= seriesLimit {
                state.refusals += 1
                key = labels.overflow
            }
            if let known = family.series[key] as? Made { return known }
            let made = make()
            family.series[key] = made
            state.families[name] = family
            return made
        }
    }
}

/// The interface of swift-metrics to a backend.
extension PrometheusRegistry {
    /// Finds or makes the counter of a label and its dimensions.
    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        series(label, dimensions, .counter) { CounterSeries() }
    }

    /// Finds or makes the counter with fractions of a label and its dimensions.
    public func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        series(label, dimensions, .counter) { CounterSeries() }
    }

    /// Finds or makes the gauge of a label and its dimensions.
    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        series(label, dimensions, .gauge) { GaugeSeries() }
    }

    /// A gauge is a recorder that does not aggregate.
    public func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        if !aggregate { return series(label, dimensions, .gauge) { GaugeSeries() } }
        return series(label, dimensions, .sizes) { HistogramSeries(bounds: HistogramSeries.sizes) }
    }

    /// Finds or makes the histogram of seconds of a label and its dimensions.
    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        series(label, dimensions, .durations) { HistogramSeries(bounds: HistogramSeries.seconds) }
    }

    // A series outlives its instruments. Another instrument may share it, and a series that vanished and came back
    // would look like a restart of the process. The number of series is small.

    /// Does nothing: the series stays.
    public func destroyCounter(_ handler: any CounterHandler) {}
    /// Does nothing: the series stays.
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    /// Does nothing: the series stays.
    public func destroyMeter(_ handler: any MeterHandler) {}
    /// Does nothing: the series stays.
    public func destroyRecorder(_ handler: any RecorderHandler) {}
    /// Does nothing: the series stays.
    public func destroyTimer(_ handler: any TimerHandler) {}
}
