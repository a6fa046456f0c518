public import Domain
import Synchronization

/// Carries hints about sessions to the jobs that work on them.
///
/// A hint says that a session may have changed: it may be deleted or cancelled, or another worker may have it.
public final class SessionHints: Sendable {
    /// The job of one claim.
    private struct Job {
        let attempt: Int
        let wakeUp: AsyncStream<Void>.Continuation
    }

    private let jobs = Mutex<[SessionID: Job]>([:])

    /// Makes a carrier without jobs.
    public init() {}

    /// Wakes the jobs of the sessions.
    ///
    /// - Parameter sessions: The sessions that may have changed, or nil for all.
    public func wake(_ sessions: [SessionID]?) {
        let woken = jobs.withLock { jobs in sessions.map { $0.compactMap { jobs[$0] } } ?? Array(jobs.values) }
        for job in woken { job.wakeUp.yield() }
    }

    /// The hints about one session, for the newest job of this process.
    ///
    /// Hints that wait become one.
    func hints(of session: SessionID, attempt: Int) -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        jobs.withLock { $0[session] = Job(attempt: attempt, wakeUp: continuation) }
        return stream
    }

    /// Forgets a session at the end of its job, unless a later job has it.
    func forget(_ session: SessionID, attempt: Int) {
        jobs.withLock { if $0[session]?.attempt == attempt { $0[session] = nil } }
    }
}
