import Domain
import FoundationEssentials
import Polling
import Store
import Synchronization

/// Reports how much of a recording has arrived.
///
/// Reports run beside the transfer, one at a time. If the database is slow, the client's bytes go on, and some
/// percentages are skipped.
final class UploadProgress: Sendable {
    /// What is known of the size of a recording.
    enum Size: Sendable {
        /// The client has declared the size in bytes.
        case known(Int64)
        /// The client has not declared it. Recordings here usually have so many bytes.
        case unknown(usual: Int64)

        /// The size that counts as usual while the server has no recording yet.
        static let firstUsual: Int64 = 30_000_000

        /// The percentage of the session's progress after some bytes.
        ///
        /// Without a size it reaches half of the upload's share at the usual size. It goes on growing after that, ever more slowly,
        /// and never says that the end is near.
        func percentage(after bytes: Int64) -> Int {
            let part =
                switch self {
                case .known(let size): size > 0 ? Double(bytes) / Double(size) : 0
                case .unknown(let usual): Double(bytes) / Double(bytes + max(usual, 1))
                }
            return min(Int(part * Double(share)), share - 1)
        }

        /// What people read.
        func message(after bytes: Int64) -> String {
            switch self {
            case .known: "Uploading the recording"
            case .unknown: "Uploading the recording: \(Self.megabytes(bytes)) MB so far"
            }
        }

        private static func megabytes(_ bytes: Int64) -> String {
            let tenths = bytes / 100_000
            return "\(tenths / 10).\(tenths % 10)"
        }
    }

    /// The percentage of the session's progress that the upload makes up.
    static let share = 20
    /// The minimum time between two reports.
    private static let interval = Duration.milliseconds(250)
    /// The minimum time between two reports of the same percentage with other bytes.
    private static let byteInterval = Duration.seconds(1)

    private struct State {
        var reported = 0
        var nextReport: ContinuousClock.Instant
        var nextByteReport: ContinuousClock.Instant
        /// The report that is running.
        var report: Task<Void, Never>?
        var isOver = false
    }

    private let store: ProgressStore
    private let session: SessionID
    private let upload: UUID
    private let size: Size
    private let clock: any MonotonicClock
    private let state: Mutex<State>

    /// Begins with no bytes.
    ///
    /// - Parameters:
    ///   - store: Takes the reports.
    ///   - session: The session of the recording.
    ///   - upload: The upload.
    ///   - size: What is known of the size of the recording.
    ///   - clock: Times the reports.
    init(store: ProgressStore, session: SessionID, upload: UUID, size: Size, clock: any MonotonicClock) {
        self.store = store
        self.session = session
        self.upload = upload
        self.size = size
        self.clock = clock
        state = Mutex(State(nextReport: clock.now, nextByteReport: clock.now + Self.byteInterval))
    }

    /// Records the bytes so far.
    ///
    /// Reports them if the percentage is new and the last report is old enough. Without a known size, it reports the bytes every
    /// second.
    func received(_ bytes: Int64) {
        let percentage = size.percentage(after: bytes)
        let now = clock.now
        state.withLock { state in
            guard state.report == nil, !state.isOver else { return }
            let isNew = percentage > state.reported && now >= state.nextReport
            guard isNew || hasBytesInMessage && now >= state.nextByteReport else { return }
            state.reported = max(percentage, state.reported)
            state.nextReport = now + Self.interval
            state.nextByteReport = now + Self.byteInterval
            // Unstructured: the transfer does not wait for the report. ``end()`` does.
            state.report = Task { await self.report(percentage, bytes) }
        }
    }

    private var hasBytesInMessage: Bool {
        if case .unknown = size { true } else { false }
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

    /// Ends the reports with one of these bytes: the upload pauses here.
    func pause(at bytes: Int64) async {
        await end()
        await report(size.percentage(after: bytes), bytes)
    }

    private func report(_ percentage: Int, _ bytes: Int64) async {
        // A failed report does not matter: the next report, or the end of the upload, has newer numbers.
        _ = try? await store.reportUpload(
            upload, of: session, status: .uploading, progress: percentage, message: size.message(after: bytes))
        state.withLock { $0.report = nil }
    }
}
