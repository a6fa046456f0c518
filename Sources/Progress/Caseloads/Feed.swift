import Domain
import Store

/// The one read that serves all followers: what was committed, from one position to the next.
struct Feed {
    /// A read of the feed.
    struct Read: Sendable, Equatable {
        var since: FeedPosition
        /// Sessions that are read whatever was committed: percentages leave no trace.
        var sessions: [SessionID]
    }

    /// What is known of a session that is not done.
    private struct Session {
        var version: Int64
        var pause = Pause.none
    }

    /// The feed of at least one follower that has begun.
    private struct Running {
        /// Everything committed up to here was passed on.
        var position: FeedPosition
        var isWanted = false
        /// Sessions that have changed by a hint or a pause alone.
        var hinted: Set<SessionID> = []
        var sessions: [SessionID: Session] = [:]
    }

    private enum Flight {
        /// No read is under way. Goes to ``reading(_:)``.
        case none
        /// A read that also asks for these sessions is under way. Goes to ``none``, or to ``stale`` with the last follower.
        case reading([SessionID])
        /// The read under way is for followers that are gone. Goes to ``none``: a new feed does not take the answer for its
        /// own.
        case stale
    }

    /// Nil before the first follower begins, and after the last has left.
    private var running: Running?
    private var flight = Flight.none
    /// At most this many sessions in one read.
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    var isRunning: Bool { running != nil }
    /// How many sessions are known that are not done.
    var sessionCount: Int { running?.sessions.count ?? 0 }

    // MARK: - Followers

    /// The first follower begins, with a caseload of a position.
    mutating func start(at position: FeedPosition) { running = Running(position: position) }

    /// The last follower is gone.
    mutating func stop() {
        running = nil
        if case .reading = flight { flight = .stale }
    }

    /// A follower begins with a session.
    ///
    /// - Returns: Whether a pause begins, after which the session is read again.
    mutating func list(_ progress: SessionProgress) -> Bool {
        guard running?.sessions[progress.sessionID] == nil else { return false }
        running?.sessions[progress.sessionID] = Session(version: progress.version, pause: .running)
        return true
    }

    // MARK: - Wanting to read

    /// A hint says that a session has come to a version; 0 says that it is deleted.
    mutating func hint(_ session: SessionID, version: Int64) {
        guard version == 0 || version > running?.sessions[session]?.version ?? 0 else { return }
        if version > 0 { running?.hinted.insert(session) }
        running?.isWanted = true
    }

    /// Everything is read, also the percentages that no hint tells of.
    mutating func resync() {
        guard let sessions = running?.sessions.keys else { return }
        running?.hinted.formUnion(sessions)
        running?.isWanted = true
    }

    /// The pause after news of a session is over.
    ///
    /// - Returns: Whether another begins.
    mutating func pauseEnded(_ session: SessionID) -> Bool {
        guard let continues = running?.sessions[session]?.pause.end() else { return false }
        running?.hinted.insert(session)
        running?.isWanted = true
        return continues
    }

    // MARK: - Reading

    /// The next read; nil while one is under way or when nothing is wanted.
    mutating func nextRead() -> Read? {
        guard case .none = flight, let running, running.isWanted else { return nil }
        let sessions = Array(running.hinted.prefix(limit))
        self.running?.hinted.subtract(sessions)
        self.running?.isWanted = running.hinted.count > sessions.count
        flight = .reading(sessions)
        return Read(since: running.position, sessions: sessions)
    }

    /// The read under way came back.
    ///
    /// - Returns: The sessions whose pauses begin; nil when the answer is for followers that are gone.
    mutating func completed(_ changes: FeedChanges) -> [SessionID]? {
        defer { flight = .none }
        guard case .reading = flight else { return nil }
        running?.position = changes.position
        let pauses = changes.items.map(\.progress).filter { note($0) }.map(\.sessionID)
        for (session, _) in changes.deleted { running?.sessions[session] = nil }
        return pauses
    }

    /// Notes what a session has come to.
    ///
    /// - Returns: Whether a pause begins.
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

    /// The read under way failed: what it wanted is still wanted.
    mutating func failed() {
        if case .reading(let sessions) = flight {
            running?.hinted.formUnion(sessions)
            running?.isWanted = true
        }
        flight = .none
    }
}

extension Feed.Read {
    func answer(from reader: any ProgressReader) async throws -> FeedChanges {
        try await reader.feed(since: since, also: sessions)
    }
}
