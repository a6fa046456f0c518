/// A value that another module keeps, read when Prometheus scrapes.
///
/// For example, a pool knows the number of its idle connections. Copying each change into a gauge would cost more and
/// could go wrong.
public struct CollectedValue: Sendable {
    let name: String
    let kind: Family.Kind
    let labels: LabelSet
    let value: String

    /// Makes a count since the start of the process.
    ///
    /// - Parameters:
    ///   - name: The name of the metric. `_total` is appended if it is missing.
    ///   - value: The count. It never falls while the process lives.
    ///   - dimensions: The names and values of the labels. Each label has a few known values.
    /// - Returns: The value.
    public static func counter(_ name: String, _ value: Int, _ dimensions: [(String, String)] = []) -> CollectedValue {
        CollectedValue(name, .counter, "\(value)", dimensions)
    }

    /// Makes a count with fractions, such as seconds, since the start of the process.
    ///
    /// - Parameters:
    ///   - name: The name of the metric. `_total` is appended if it is missing.
    ///   - value: The count. It never falls while the process lives.
    ///   - dimensions: The names and values of the labels. Each label has a few known values.
    /// - Returns: The value.
    public static func counter(
        _ name: String, _ value: Double, _ dimensions: [(String, String)] = []
    ) -> CollectedValue {
        CollectedValue(name, .counter, Exposition.number(value), dimensions)
    }

    /// Makes a present value.
    ///
    /// - Parameters:
    ///   - name: The name of the metric.
    ///   - value: The value, in the base unit at the end of the name.
    ///   - dimensions: The names and values of the labels. Each label has a few known values.
    /// - Returns: The value.
    public static func gauge(_ name: String, _ value: Int, _ dimensions: [(String, String)] = []) -> CollectedValue {
        CollectedValue(name, .gauge, "\(value)", dimensions)
    }

    /// Makes a present value that may have a fraction.
    ///
    /// - Parameters:
    ///   - name: The name of the metric.
    ///   - value: The value, in the base unit at the end of the name.
    ///   - dimensions: The names and values of the labels. Each label has a few known values.
    /// - Returns: The value.
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

/// A series with one collected value.
final class CollectedSeries: Series {
    private let value: String

    init(_ value: String) { self.value = value }

    func write(_ name: String, _ labels: LabelSet, to exposition: inout Exposition) {
        exposition.sample(name, labels, value)
    }
}
