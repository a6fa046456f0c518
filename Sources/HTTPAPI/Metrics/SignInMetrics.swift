import Metrics

/// How many signed in, and how many were refused: a wrong address or password, or an inactive account; or were not even
/// looked at, after too many failures.
struct SignInMetrics: Sendable {
    let accepted: Counter
    let refused: Counter
    let limited: Counter

    init(metrics: any MetricsFactory) {
        func counter(_ outcome: String) -> Counter {
            Counter(label: "therapybridge_sign_ins_total", dimensions: [("outcome", outcome)], factory: metrics)
        }
        accepted = counter("accepted")
        refused = counter("refused")
        limited = counter("limited")
    }
}
