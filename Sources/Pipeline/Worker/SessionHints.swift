public import Domain
import Synchronization

/// Carries hints about sessions to the jobs that work on them.
///
/// A hint says that a session may have changed: it may be deleted or cancelled, or another worker may have it.
public final class SessionHints: Sendable {
    /// One reader of hints, in the job of one claim.
    private struct Reader {
        let attempt: Int
        let wakeUp: AsyncStream<Void>.Continuation
    }

    private let readers = Mutex<[SessionID: [Reader]]>([:])

    /// Makes a carrier without jobs.
    public init() {}

    /// Wakes the jobs of the sessions.
    ///
    /// - Parameter sessions: The sessions that may have changed, or nil for all.
    public func wake(_ sessions: [SessionID]?) {
        let woken = readers.withLock { readers in
            sessions.map { $0.compactMap { readers[$0] } } ?? Array(readers.values)
        }
        for reader in woken.joined() { reader.wakeUp.yield() }
    }

    /// The hints about one session, for a job of this process.
    ///
    /// Hints that wait become one. Each call adds a reader, and takes no hint from the readers before it.
    func hints(of session: SessionID, attempt: Int) -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        readers.withLock { $0[session, default: []].append(Reader(attempt: attempt, wakeUp: continuation)) }
        return stream
    }

    /// Forgets the readers of a job at its end.
    ///
    /// The readers of a later job of the session stay.
    func forget(_ session: SessionID, attempt: Int) {
        readers.withLock { readers in
            let others = readers[session]?.filter { $0.attempt != attempt } ?? []
            readers[session] = others.isEmpty ? nil : others
        }
    }
}
