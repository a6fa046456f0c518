import Metrics

/// What is counted of uploads once they are let in: who may not upload is told so by the status of the answer.
struct UploadMetrics: Sendable {
    /// Bytes of recordings that arrived, kept or not.
    let bytes: Counter
    /// Recordings that went into the queue.
    let finished: Counter
    private let failures: [String: Counter]
    private let otherFailures: Counter

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
    }

    private static let brokenOff = "broken-off"

    /// Counts a failure.
    ///
    /// - Parameter kind: The problem that the client was told; nil when the upload broke off.
    func failed(with kind: Problem.Kind?) {
        (failures[kind?.rawValue ?? Self.brokenOff] ?? otherFailures).increment()
    }
}
