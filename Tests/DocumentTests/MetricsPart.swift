import App
import TestSupport

/// The metrics that the program describes.
///
/// A test compares them with those that a server serves.
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
