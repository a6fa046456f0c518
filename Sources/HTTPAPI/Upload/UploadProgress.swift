import Domain
import Foundation
import Polling
import Store
import Synchronization

/// Reports how much of a recording has arrived, as the bytes arrive.
///
/// The reports are made beside the transfer, one at a time: when the database is slow, percentages are skipped and the
/// bytes go on.
final class UploadProgress: Sendable {
    /// The share of the whole way that the upload is, in per cent.
    static let share = 20
    /// The least time between two reports.
    private static let interval = Duration.milliseconds(250)

    private struct State {
        var reported = 0
        var nextReport: ContinuousClock.Instant
        /// The report under way.
        var report: Task<Void, Never>?
        var isOver = false
    }

    private let store: ProgressStore
    private let session: SessionID
    private let upload: UUID
    private let expectedBytes: Int64
    private let clock: any MonotonicClock
    private let state: Mutex<State>

    /// Begins with nothing received.
    ///
    /// - Parameters:
    ///   - store: Takes the reports.
    ///   - session: The session that the recording is for.
    ///   - upload: The upload that brings it.
    ///   - expectedBytes: What is expected in all.
    ///   - clock: The clock by which reports keep their distance.
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

    /// Takes note of the bytes so far, and reports when there is a new percentage and the last report is a while ago.
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
            // Unstructured, so that the transfer does not wait for it; ``end()`` does.
            state.report = Task { await self.report(percentage) }
        }
    }

    /// Ends the reports: once this returns, none is under way.
    ///
    /// A late one would take the session from `pending` back to `uploading`.
    func end() async {
        let report = state.withLock { state in
            state.isOver = true
            return state.report
        }
        await report?.value
    }

    private func report(_ percentage: Int) async {
        // A report that fails is no reason to stop: the next one, or the end of the upload, says more.
        _ = try? await store.reportUpload(
            upload, of: session, status: .uploading, progress: percentage, message: "Uploading the recording")
        state.withLock { $0.report = nil }
    }
}
