import CoreMetrics
import Synchronization

/// One series.
///
/// Threads read it while others write it.
protocol Series: AnyObject, Sendable {
    /// Adds the lines of the series.
    func write(_ name: String, _ labels: LabelSet, to exposition: inout Exposition)
}

/// A count that only grows.
///
/// It keeps whole numbers and fractions apart. Counting one is then one atomic addition, and exact for any size of the
/// count.
final class CounterSeries: Series, CounterHandler, FloatingPointCounterHandler {
    private let whole = Atomic<Int64>(0)
    private let fraction = AtomicSum()

    /// Drops a negative amount: "MUST check that v >= 0" (writing client libraries, counter).
    func increment(by amount: Int64) {
        if amount > 0 { whole.wrappingAdd(amount, ordering: .relaxed) }
    }

    func increment(by amount: Double) {
        if amount > 0, amount.isFinite { fraction.add(amount) }
    }

    func reset() {
        whole.store(0, ordering: .relaxed)
        fraction.set(0)
    }

    func write(_ name: String, _ labels: LabelSet, to exposition: inout Exposition) {
        let (whole, fraction) = (whole.load(ordering: .relaxed), fraction.value)
        exposition.sample(name, labels, fraction == 0 ? "\(whole)" : Exposition.number(Double(whole) + fraction))
    }
}

/// A value that goes up and down.
final class GaugeSeries: Series, MeterHandler, RecorderHandler {
    private let sum = AtomicSum()

    func set(_ value: Int64) { sum.set(Double(value)) }
    func set(_ value: Double) { sum.set(value) }
    func increment(by amount: Double) { sum.add(amount) }
    func decrement(by amount: Double) { sum.add(-amount) }
    func record(_ value: Int64) { sum.set(Double(value)) }
    func record(_ value: Double) { sum.set(value) }

    func write(_ name: String, _ labels: LabelSet, to exposition: inout Exposition) {
        exposition.sample(name, labels, Exposition.number(sum.value))
    }
}

/// The distribution of values, counted in buckets.
final class HistogramSeries: Series, RecorderHandler, TimerHandler {
    /// The upper bounds of a timer's buckets in seconds, from the relay of a hint up to a stage of the pipeline.
    static let seconds = [
        0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800,
        7200,
    ]
    /// The upper bounds of a recorder's buckets, for sizes and counts.
    static let sizes = [1.0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000, 100_000, 1_000_000]

    /// One count.
    ///
    /// An array cannot hold atomics.
    private final class Bucket: Sendable {
        let count = Atomic<Int>(0)
    }

    private let bounds: [Double]
    /// One bucket for each bound, and one for larger values.
    private let buckets: [Bucket]
    private let sum = AtomicSum()

    /// - Parameter bounds: The upper bounds of the buckets, in increasing order.
    init(bounds: [Double]) {
        self.bounds = bounds
        buckets = (0...bounds.count).map { _ in Bucket() }
    }

    func record(_ value: Int64) { record(Double(value)) }

    /// Drops infinity and NaN, which would spoil the sum for ever.
    func record(_ value: Double) {
        guard value.isFinite else { return }
        let index = bounds.firstIndex { value <= $0 } ?? bounds.count
        buckets[index].count.wrappingAdd(1, ordering: .relaxed)
        sum.add(value)
    }

    func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }

    /// The count is the sum of the buckets that were just read.
    ///
    /// "A histogram must have a bucket with `{le="+Inf"}`. Its value must be identical to the value of `x_count`"
    /// (exposition formats, histograms).
    func write(_ name: String, _ labels: LabelSet, to exposition: inout Exposition) {
        var count = 0
        for (bound, bucket) in zip(bounds + [.infinity], buckets) {
            count += bucket.count.load(ordering: .relaxed)
            exposition.sample(name + "_bucket", labels, upTo: bound, "\(count)")
        }
        exposition.sample(name + "_sum", labels, Exposition.number(sum.value))
        exposition.sample(name + "_count", labels, "\(count)")
    }
}

/// A floating-point number that many threads change.
struct AtomicSum: ~Copyable {
    private let number = Atomic<Double>(0)

    var value: Double { number.load(ordering: .relaxed) }

    func set(_ value: Double) { number.store(value, ordering: .relaxed) }

    func add(_ amount: Double) {
        var known = value
        while true {
            let (isExchanged, present) = number.weakCompareExchange(
                expected: known, desired: known + amount, ordering: .relaxed)
            if isExchanged { return }
            known = present
        }
    }
}
