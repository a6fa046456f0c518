/// All series of one metric: they have the name, the kind and the labels' names in common.
struct Family {
    /// What a metric is.
    enum Kind: Hashable, Sendable {
        /// A count that only grows.
        case counter
        /// A value that goes up and down.
        case gauge
        /// Sizes and numbers, in buckets.
        case sizes
        /// Seconds, in buckets.
        case durations

        /// What the `TYPE` line says.
        var type: String {
            switch self {
            case .counter: "counter"
            case .gauge: "gauge"
            case .sizes, .durations: "histogram"
            }
        }

        /// What a metric's name ends in.
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

    /// Whether a series of this kind and with these labels belongs here.
    func takes(_ kind: Kind, _ labels: LabelSet) -> Bool { self.kind == kind && labelNames == labels.names }
}
