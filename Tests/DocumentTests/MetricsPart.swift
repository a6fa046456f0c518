import App

/// The metrics, as the program describes them; a test of the server holds what it serves against the same table.
enum MetricsPart {
    static func text() -> String {
        table(
            ["metric", "type", "labels", "meaning"],
            MetricDescriptions.all.map { metric in
                [
                    "`\(metric.name)`", metric.kind.rawValue,
                    metric.labels.map { "`\($0)`" }.joined(separator: ", "), metric.meaning,
                ]
            })
    }
}
