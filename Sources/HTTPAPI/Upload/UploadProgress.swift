import Domain
import Foundation
import Polling
import Store
import Synchronization

/// Reports how much of a recording has arrived.
///
/// Reports run beside the transfer, one at a time. If the database is slow, the client's bytes go on, and some
/// percentages are skipped.
final class UploadProgress: Sendable {
    /// The percentage of the session's progress that the upload makes up.
    static let share = 20
    /// The minimum time between two reports.
    private static let interval = Duration.milliseconds(250)

    private struct State {
        var reported = 0
        var nextReport: ContinuousClock.Instant
        /// The report that is running.
        var report: Task<Void, Never>?
        var isOver = false
    }

    private let store: ProgressStore
    private let session: SessionID
    private let upload: UUID
    private let expectedBytes: Int64
    private let clock: any MonotonicClock
    private let state: Mutex<State>

    /// Begins with no bytes.
    ///
    /// - Parameters:
    ///   - store: Takes the reports.
    ///   - session: The session of the recording.
    ///   - upload: The upload.
    ///   - expectedBytes: The expected size in bytes.
    ///   - clock: Times the reports.
    init(
        store: ProgressStore, session: SessionID, upload: UUID, expectedBytes: Int64, clock: any MonotonicClock
    ) {
        self.store = store
        self.session = session
        self.upload = upload
        self.expectedBytes = expectedBytes
        self.clock = clock
        state = Mutex(State(nextReport: clock.now))
    }

    /// Records the bytes so far.
    ///
    /// Reports them if the percentage is new and the last report is old enough.
    func received(_ bytes: Int64) {
        guard expectedBytes > 0 else { return }
        let percentage = min(Int(bytes * Int64(Self.share) / expectedBytes), Self.share - 1)
        let now = clock.now
        state.withLock { state in
            guard percentage > state.reported, state.report == nil, !state.isOver,
                now >= state.nextReport
            else { return }
            state.reported = percentage
            state.nextReport = now + Self.interval
            // Unstructured: the transfer does not wait for the report. ``end()`` does.
            state.report = Task { await self.report(percentage) }
        }
    }

    /// Ends the reports: once this returns, none is running.
    ///
    /// A late report would take the session from `pending` back to `uploading`.
    func end() async {
        let report = state.withLock { state in
            state.isOver = true
            return state.report
        }
        await report?.value
    }

    private func report(_ percentage: Int) async {
        // A failed report does not matter: the next report, or the end of the upload, has newer numbers.
        _ = try? await store.reportUpload(
            upload, of: session, status: .uploading, progress: percentage, message: "Uploading the recording")
        state.withLock { $0.report = nil }
    }
}
