import Metrics
import Store

/// What is counted of uploads: once they are let in, and when a limit does not let them in.
///
/// Who may not upload at all is told so by the status of the answer.
struct UploadMetrics: Sendable {
    /// Bytes of recordings that arrived, kept or not.
    let bytes: Counter
    /// Recordings that went into the queue.
    let finished: Counter
    private let failures: [String: Counter]
    private let otherFailures: Counter
    private let refusals: [UploadRefusal.Limit: Counter]

    /// What can befall an upload; each is counted from the start, so that its first occurrence is a change.
    private static let reasons: [Problem.Kind] = [
        .tooLarge, .unsupportedMedia, .invalid, .conflict, .storageFull, .unavailable, .internalError,
    ]

    init(metrics: any MetricsFactory) {
        func counter(_ reason: String) -> Counter {
            Counter(
                label: "therapybridge_uploads_failed_total", dimensions: [("reason", reason)], factory: metrics)
        }
        bytes = Counter(label: "therapybridge_upload_bytes_total", factory: metrics)
        finished = Counter(label: "therapybridge_uploads_finished_total", factory: metrics)
        failures = Dictionary(
            uniqueKeysWithValues: ([Self.brokenOff] + Self.reasons.map(\.rawValue)).map { ($0, counter($0)) })
        otherFailures = counter("other")
        refusals = Dictionary(
            uniqueKeysWithValues: UploadRefusal.Limit.allCases.map {
                let dimensions = [("limit", $0.rawValue)]
                return (
                    $0, Counter(label: "therapybridge_uploads_refused_total", dimensions: dimensions, factory: metrics)
                )
            })
    }

    private static let brokenOff = "broken-off"

    /// Counts an upload that was not let in.
    func refused(by limit: UploadRefusal.Limit) { refusals[limit]?.increment() }

    /// Counts a failure.
    ///
    /// - Parameter kind: The problem that the client was told; nil when the upload broke off.
    func failed(with kind: Problem.Kind?) {
        (failures[kind?.rawValue ?? Self.brokenOff] ?? otherFailures).increment()
    }
}

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
