import FoundationEssentials
import Postgres
import Store
import Synchronization

/// The segments of a running stage on their way to the database.
///
/// The database gets them at most once a second, because each write is a version of the session's progress. Segments
/// that the database did not take wait for the next update of the stage. Its result has all of them.
final class PartialTranscript: Sendable {
    /// The pause between two writes.
    private static let interval = Duration.seconds(1)

    private struct State {
        /// The segments that are not in the database yet.
        var waiting: [TranscriptSegment] = []
        /// How many segments are in the database.
        var stored = 0
        /// When the last write began, in time since the start of the stage.
        var writtenAt: Duration?
        /// True if the database has refused a segment.
        ///
        /// It takes no segment without those before it.
        var isGivenUp = false
    }

    private let claim: ClaimedSession
    private let queue: PipelineStore
    private let elapsed: @Sendable () -> Duration
    private let state = Mutex(State())

    /// Begins the partial transcript of a stage.
    ///
    /// - Parameters:
    ///   - claim: The worker's claim to the session.
    ///   - queue: Takes the segments.
    ///   - clock: Tells when the next write is due.
    init(of claim: ClaimedSession, in queue: PipelineStore, clock: any Clock<Duration>) {
        self.claim = claim
        self.queue = queue
        elapsed = Self.stopwatch(by: clock)
    }

    private static func stopwatch(by clock: some Clock<Duration>) -> @Sendable () -> Duration {
        let start = clock.now
        return { start.duration(to: clock.now) }
    }

    /// Adds the new segments of the stage, and stores those that wait, if a write is due.
    ///
    /// - Returns: False if the database refuses the segments. The stage goes on without a partial transcript.
    /// - Throws: `PostgresError` if the database does not answer, or the session does not belong to this worker.
    func add(_ segments: [TranscriptSegment]) async throws -> Bool {
        let now = elapsed()
        let batch = state.withLock { state -> (segments: [TranscriptSegment], first: Int)? in
            if state.isGivenUp { return nil }
            state.waiting += segments
            if state.waiting.isEmpty { return nil }
            if let last = state.writtenAt, now - last < Self.interval { return nil }
            state.writtenAt = now
            return (state.waiting, state.stored)
        }
        guard let batch else { return true }
        let json = String(decoding: try JSONEncoder().encode(batch.segments), as: UTF8.self)
        do {
            try await queue.addSegments(json, first: batch.first, of: claim)
        } catch let error as PostgresError where error.sqlState?.errorClass == "22" {
            state.withLock { state in
                state.isGivenUp = true
                state.waiting = []
            }
            return false
        }
        state.withLock { state in
            state.stored += batch.segments.count
            state.waiting.removeFirst(batch.segments.count)
        }
        return true
    }
}
