public import CoreMetrics
import Synchronization

/// The metrics of one server: a backend of swift-metrics that renders what was recorded for Prometheus.
///
/// Give it to whoever records, as in `Counter(label: "…_total", factory: registry)`, and keep what that returns: recording
/// is then one or two atomic additions, without a lock, while making an instrument takes one. Two instruments with
/// the same label and dimensions are the same series.
///
/// Counters end in `_total` and timers in `_seconds`; the suffix is added where it is missing. Timers and recorders become
/// histograms with fixed buckets, gauges and meters become gauges.
///
/// Series are bounded: a metric has at most `seriesLimit`, and what comes after that is recorded under one whose labels
/// all say `other`. A name that is taken by a metric of another kind, or with other labels, gets an instrument that nobody
/// sees. ``refusals`` counts both.
public final class PrometheusRegistry: MetricsFactory, Sendable {
    private struct State {
        var families: [String: Family] = [:]
        var collectors: [@Sendable () -> [CollectedValue]] = []
        var refusals = 0
    }

    private let descriptions: [String: String]
    private let seriesLimit: Int
    private let state = Mutex(State())

    /// Makes a registry without any metric.
    ///
    /// - Parameters:
    ///   - descriptions: what metrics mean, by their full names; shown with them as `HELP`.
    ///   - seriesLimit: how many combinations of labels one metric may have, the one for the rest not counted; 1,000.
    public init(descriptions: [String: String] = [:], seriesLimit: Int = 1000) {
        self.descriptions = descriptions
        self.seriesLimit = seriesLimit
    }

    /// The media type of what ``render()`` returns.
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// How many instruments got no series of their own.
    public var refusals: Int { state.withLock { $0.refusals } }

    /// Adds values that are read when Prometheus asks.
    ///
    /// - Parameter collect: returns the values; called with each ``render()``, by several threads at once, and must not
    ///   block. It is kept as long as the registry: let it hold nothing strongly that holds the registry.
    public func addCollector(_ collect: @escaping @Sendable () -> [CollectedValue]) {
        state.withLock { $0.collectors.append(collect) }
    }

    /// All metrics in the text format 0.0.4, in the order of their names.
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

    /// The series of a label and its dimensions, which is made when it is not there.
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
            var place = labels
            if family.series[place] == nil, family.series.count >= seriesLimit {
                state.refusals += 1
                place = labels.overflow
            }
            if let known = family.series[place] as? Made { return known }
            let made = make()
            family.series[place] = made
            state.families[name] = family
            return made
        }
    }
}

/// What swift-metrics asks of a backend.
extension PrometheusRegistry {
    /// Makes a counter, or finds the one of this label and these dimensions.
    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        series(label, dimensions, .counter) { CounterSeries() }
    }

    /// Makes a counter that also takes fractions, or finds the one of this label and these dimensions.
    public func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        series(label, dimensions, .counter) { CounterSeries() }
    }

    /// Makes a gauge, or finds the one of this label and these dimensions.
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

    /// Makes a histogram of seconds, or finds the one of this label and these dimensions.
    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        series(label, dimensions, .durations) { HistogramSeries(bounds: HistogramSeries.seconds) }
    }

    // A series stays when an instrument is let go of: another may share it, there are few of them, and one that vanished and
    // came back would look as if the process had been started anew.

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
