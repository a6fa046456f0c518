/// A value that something else keeps, read when Prometheus asks for it.
///
/// A pool, say, knows how many of its connections are idle: copying that into a gauge with each change would cost more
/// and could go wrong.
public struct CollectedValue: Sendable {
    let name: String
    let kind: Family.Kind
    let labels: LabelSet
    let value: String

    /// A count since the start; its name ends in `_total`, which is added where it is missing.
    ///
    /// - Parameters:
    ///   - name: the metric's name.
    ///   - value: the count, which never goes down while the process lives.
    ///   - dimensions: the names and values of the labels, each of a few values that are known beforehand.
    /// - Returns: the value.
    public static func counter(_ name: String, _ value: Int, _ dimensions: [(String, String)] = []) -> CollectedValue {
        CollectedValue(name, .counter, "\(value)", dimensions)
    }

    /// A count of what comes in fractions, such as seconds, since the start; its name ends in `_total`.
    public static func counter(
        _ name: String, _ value: Double, _ dimensions: [(String, String)] = []
    ) -> CollectedValue {
        CollectedValue(name, .counter, Exposition.number(value), dimensions)
    }

    /// A value of this moment.
    ///
    /// - Parameters:
    ///   - name: the metric's name.
    ///   - value: the value, in the base unit that the name ends in.
    ///   - dimensions: the names and values of the labels, each of a few values that are known beforehand.
    /// - Returns: the value.
    public static func gauge(_ name: String, _ value: Int, _ dimensions: [(String, String)] = []) -> CollectedValue {
        CollectedValue(name, .gauge, "\(value)", dimensions)
    }

    /// A value of this moment that may have a fraction.
    public static func gauge(_ name: String, _ value: Double, _ dimensions: [(String, String)] = []) -> CollectedValue {
        CollectedValue(name, .gauge, Exposition.number(value), dimensions)
    }

    private init(_ name: String, _ kind: Family.Kind, _ value: String, _ dimensions: [(String, String)]) {
        self.name = MetricName.metric(name, suffix: kind.suffix)
        self.kind = kind
        self.labels = LabelSet(dimensions)
        self.value = value
    }
}

/// A collected value in the place of a series.
final class CollectedSeries: Series {
    private let value: String

    init(_ value: String) { self.value = value }

    func write(_ name: String, _ labels: LabelSet, to exposition: inout Exposition) {
        exposition.sample(name, labels, value)
    }
}
