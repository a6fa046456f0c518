import Metrics
import Store

/// Counts uploads that the server admits, and uploads that it rejects at a limit.
///
/// An upload without a right is not counted here: the metric of requests shows its status.
struct UploadMetrics: Sendable {
    /// Bytes of recordings that arrived, stored or not.
    let bytes: Counter
    /// Recordings that entered the queue.
    let finished: Counter
    /// Requests that continued a resumable upload.
    let resumed: Counter
    /// Resumable uploads whose time was over.
    let expired: Counter
    private let failures: [String: Counter]
    private let otherFailures: Counter
    private let refusals: [UploadRefusal.Limit: Counter]

    /// The reasons for a failed upload.
    ///
    /// Each has a series from the start, which makes its first occurrence visible as a change.
    private static let reasons: [Problem.Kind] = [
        .tooLarge, .unsupportedMedia, .invalid, .conflict, .storageFull, .storageUnavailable, .unavailable,
        .internalError,
    ]

    init(metrics: any MetricsFactory) {
        func counter(_ reason: String) -> Counter {
            Counter(
                label: "therapybridge_uploads_failed_total", dimensions: [("reason", reason)], factory: metrics)
        }
        bytes = Counter(label: "therapybridge_upload_bytes_total", factory: metrics)
        finished = Counter(label: "therapybridge_uploads_finished_total", factory: metrics)
        resumed = Counter(label: "therapybridge_uploads_resumed_total", factory: metrics)
        expired = Counter(label: "therapybridge_uploads_expired_total", factory: metrics)
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

    /// Counts an upload that the server rejected at a limit.
    func refused(by limit: UploadRefusal.Limit) { refusals[limit]?.increment() }

    /// Counts a failed upload.
    ///
    /// - Parameter kind: The problem in the answer; nil if the upload broke off.
    func failed(with kind: Problem.Kind?) {
        (failures[kind?.rawValue ?? Self.brokenOff] ?? otherFailures).increment()
    }
}

/// Counts sign-ins: accepted, refused (wrong address or password, or an inactive account), and rejected after too many
/// failures.
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
