/// All series of one metric.
///
/// They share the name, the kind and the names of the labels.
struct Family {
    /// The kind of a metric.
    enum Kind: Hashable, Sendable {
        /// A count that only grows.
        case counter
        /// A value that goes up and down.
        case gauge
        /// Sizes and counts, in buckets.
        case sizes
        /// Seconds, in buckets.
        case durations

        /// The type in the `TYPE` line.
        var type: String {
            switch self {
            case .counter: "counter"
            case .gauge: "gauge"
            case .sizes, .durations: "histogram"
            }
        }

        /// The suffix of the metric's name.
        var suffix: String {
            switch self {
            case .counter: "_total"
            case .gauge, .sizes: ""
            case .durations: "_seconds"
            }
        }
    }

    let kind: Kind
    /// "Client libraries MUST NOT allow users to have different label names for the same metric" (writing client
    /// libraries, labels).
    let labelNames: [String]
    var series: [LabelSet: any Series] = [:]

    /// Whether a series of this kind and with these labels belongs to this metric.
    func takes(_ kind: Kind, _ labels: LabelSet) -> Bool { self.kind == kind && labelNames == labels.names }
}
