import Domain
import Store

/// The one read that serves all followers: it finds what was committed between two positions.
struct Feed {
    /// A read of the feed.
    struct Read: Sendable, Equatable {
        var since: FeedPosition
        /// Sessions to read in any case, because percentages leave no trace.
        var sessions: [SessionID]
        /// The snapshot after which the read looks for changes of rights.
        var rightsSince: DatabaseSnapshot?
    }

    /// What is known of a session that is not processed.
    private struct Session {
        var version: Int64
        var pause = Pause.none
    }

    /// The feed of at least one follower that has begun.
    private struct Running {
        /// The followers know everything that was committed before this position.
        var position: FeedPosition
        /// A read is wanted even if no session is in ``hinted``.
        var isForced = false
        /// Sessions to read because of a hint, a pause, or a resync.
        var hinted: Set<SessionID> = []
        var sessions: [SessionID: Session] = [:]

        var isWanted: Bool { isForced || !hinted.isEmpty }
    }

    private enum Flight {
        /// No read is under way. Goes to ``reading(_:)``.
        case none
        /// A read that includes these sessions is under way. Goes to ``none``, or to ``orphaned`` when the last follower leaves.
        case reading([SessionID])
        /// The followers of the read under way have left. Goes to ``none``. A new feed does not use the answer.
        case orphaned
    }

    /// Nil before the first follower begins and after the last has left.
    private var running: Running?
    private var flight = Flight.none
    /// The largest number of sessions in one read.
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    var isRunning: Bool { running != nil }
    /// The number of known sessions that are not processed.
    var sessionCount: Int { running?.sessions.count ?? 0 }

    // MARK: - Followers

    /// The first follower begins with a caseload at a position.
    mutating func start(at position: FeedPosition) { running = Running(position: position) }

    /// The last follower has left.
    mutating func stop() {
        running = nil
        if case .reading = flight { flight = .orphaned }
    }

    /// A follower begins with a session.
    ///
    /// - Parameter progress: The state of the session.
    /// - Returns: Whether a pause begins, after which the feed reads the session again.
    mutating func list(_ progress: SessionProgress) -> Bool {
        guard running?.sessions[progress.sessionID] == nil else { return false }
        running?.sessions[progress.sessionID] = Session(version: progress.version, pause: .running)
        return true
    }

    // MARK: - Wanting to read

    /// A hint says that a session has reached a version, or, with version 0, that it was deleted.
    mutating func hint(_ session: SessionID, version: Int64) {
        guard version == 0 || version > running?.sessions[session]?.version ?? 0 else { return }
        if version > 0 { running?.hinted.insert(session) } else { running?.isForced = true }
    }

    /// The feed reads everything, including percentages without a hint.
    mutating func resync() {
        guard let sessions = running?.sessions.keys else { return }
        running?.hinted.formUnion(sessions)
        running?.isForced = true
    }

    /// The pause after news of a session has ended.
    ///
    /// - Parameter session: The session.
    /// - Returns: Whether another pause begins.
    mutating func pauseEnded(_ session: SessionID) -> Bool {
        guard let continues = running?.sessions[session]?.pause.end() else { return false }
        running?.hinted.insert(session)
        return continues
    }

    // MARK: - Reading

    /// The next read; nil while one is under way, or if nothing is wanted.
    ///
    /// - Parameter snapshot: The snapshot after which the read looks for changes of rights.
    /// - Returns: The read.
    mutating func nextRead(rightsSince snapshot: DatabaseSnapshot?) -> Read? {
        guard case .none = flight, let running, running.isWanted else { return nil }
        let sessions = Array(running.hinted.prefix(limit))
        self.running?.hinted.subtract(sessions)
        self.running?.isForced = false
        flight = .reading(sessions)
        return Read(since: running.position, sessions: sessions, rightsSince: snapshot)
    }

    /// The read under way succeeded.
    ///
    /// - Parameter changes: The answer.
    /// - Returns: The sessions whose pauses begin; nil if the followers of the read have left.
    mutating func completed(_ changes: FeedChanges) -> [SessionID]? {
        defer { flight = .none }
        guard case .reading = flight else { return nil }
        running?.position = changes.position
        let pauses = changes.items.map(\.progress).filter { note($0) }.map(\.sessionID)
        for (session, _) in changes.deleted { running?.sessions[session] = nil }
        return pauses
    }

    /// Notes the state of a session, and returns whether a pause begins.
    private mutating func note(_ progress: SessionProgress) -> Bool {
        var session = running?.sessions[progress.sessionID] ?? Session(version: 0)
        guard progress.version > session.version else { return false }
        guard progress.status != .processed else {
            running?.sessions[progress.sessionID] = nil
            return false
        }
        session.version = progress.version
        let begins = session.pause.begin()
        running?.sessions[progress.sessionID] = session
        return begins
    }

    /// The read under way failed: everything that it was for is still wanted.
    mutating func failed() {
        if case .reading(let sessions) = flight {
            running?.hinted.formUnion(sessions)
            running?.isForced = true
        }
        flight = .none
    }
}

extension Feed.Read {
    func answer(from reader: any ProgressReader) async throws -> FeedChanges {
        try await reader.feed(since: since, also: sessions, rightsSince: rightsSince)
    }
}
