import Domain
import Store

/// Reports how much of a recording has arrived, as the bytes arrive.
///
/// The reports are made beside the transfer: when the database is slow, percentages are skipped and the bytes go on.
actor UploadProgress {
    /// The share of the whole way that the upload is, in per cent.
    static let share = 20
    /// The least time between two reports.
    private static let interval = Duration.milliseconds(250)

    private let store: ProgressStore
    private let session: SessionID
    /// What is expected in all; nil when the client did not say.
    private let expectedBytes: Int64?
    private var reported = 0
    private var nextReport = ContinuousClock.now
    private var isReporting = false
    private var isOver = false

    init(store: ProgressStore, session: SessionID, expectedBytes: Int64?) {
        self.store = store
        self.session = session
        self.expectedBytes = expectedBytes
    }

    /// Takes note of the bytes so far, and reports when there is a new percentage and the last report is a while ago.
    nonisolated func received(_ bytes: Int64) {
        // Unstructured, so that the transfer does not wait: the actor lets one report through at a time.
        Task { await report(bytes) }
    }

    /// No reports from here on: the session leaves `uploading`.
    func end() { isOver = true }

    private func report(_ bytes: Int64) async {
        guard let expectedBytes, expectedBytes > 0, !isReporting, !isOver, ContinuousClock.now >= nextReport else { return }
        let percentage = min(Int(bytes * Int64(Self.share) / expectedBytes), Self.share - 1)
        guard percentage > reported else { return }
        isReporting = true
        defer { isReporting = false }
        nextReport = .now.advanced(by: Self.interval)
        let report = ProgressReport(
            sessionID: session, status: .uploading, progress: percentage, message: "Uploading the recording")
        // A report that fails is no reason to stop: the next one, or the end of the upload, says more.
        if (try? await store.report(report)) != nil { reported = percentage }
    }
}
