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

    /// What a resync still has to read.
    private struct Resync {
        /// The sessions for which no read has begun since.
        var sessions: Set<SessionID>
        /// Whether the read under way began with the last of these sessions.
        var isLastRead = false

        /// A read that includes sessions begins.
        mutating func readBegins(_ read: [SessionID]) {
            sessions.subtract(read)
            isLastRead = sessions.isEmpty
        }

        /// The read under way failed.
        mutating func readFailed(_ read: [SessionID]) {
            sessions.formUnion(read)
            isLastRead = false
        }
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
        /// Since when the next read is wanted; nil if none is.
        var wantedSince: ContinuousClock.Instant?
        /// When the hints came that the feed has not answered yet.
        var hints = HintTimes()
        /// Nil without a resync.
        var resync: Resync?

        var isWanted: Bool { isForced || !hinted.isEmpty }

        /// A read is wanted, perhaps for a session.
        mutating func want(_ session: SessionID? = nil, at now: ContinuousClock.Instant) {
            if let session { hinted.insert(session) } else { isForced = true }
            wantedSince = earlier(wantedSince, now)
        }
    }

    private enum Flight {
        /// No read is under way. Goes to ``reading(_:)``.
        case none
        /// A read that includes these sessions, wanted since a moment, is under way. Goes to ``none``, or to ``orphaned`` when
        /// the last follower leaves.
        case reading([SessionID], wantedSince: ContinuousClock.Instant?)
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
    /// The moment of the oldest hint that the feed has not answered; nil if there is none.
    var oldestHint: ContinuousClock.Instant? { running?.hints.oldest }
    /// Whether the feed has not yet read everything since a resync.
    var isResyncing: Bool { running?.resync != nil }

    /// Since when the feed is behind: the moment of the oldest reason to read that no read has answered; nil if there is none.
    var behindSince: ContinuousClock.Instant? {
        guard let running else { return nil }
        guard case .reading(_, let since) = flight else { return running.wantedSince }
        return earlier(since, running.wantedSince)
    }

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
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - version: The version; 0 if the session was deleted.
    ///   - now: The moment of the hint.
    ///   - isFromPoll: Whether a poll has named the session, and no notification.
    mutating func hint(
        _ session: SessionID, version: Int64, at now: ContinuousClock.Instant, isFromPoll: Bool = false
    ) {
        guard version == 0 || version > running?.sessions[session]?.version ?? 0 else { return }
        running?.want(version > 0 ? session : nil, at: now)
        running?.hints.note(session, version: version, at: now, isFromPoll: isFromPoll)
    }

    /// The feed reads everything, including percentages without a hint.
    mutating func readAll(at now: ContinuousClock.Instant) {
        guard let sessions = running?.sessions.keys else { return }
        running?.hinted.formUnion(sessions)
        running?.want(at: now)
    }

    /// Hints may have been lost: the feed reads everything.
    mutating func resync(at now: ContinuousClock.Instant) {
        readAll(at: now)
        guard let sessions = running?.sessions.keys else { return }
        // A read under way may be too old.
        running?.resync = Resync(sessions: Set(sessions))
    }

    /// The pause after news of a session has ended.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - now: The present moment.
    /// - Returns: Whether another pause begins.
    mutating func pauseEnded(_ session: SessionID, at now: ContinuousClock.Instant) -> Bool {
        guard let continues = running?.sessions[session]?.pause.end() else { return false }
        running?.want(session, at: now)
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
        flight = .reading(sessions, wantedSince: running.wantedSince)
        begin(sessions)
        return Read(since: running.position, sessions: sessions, rightsSince: snapshot)
    }

    /// A read that includes sessions begins.
    private mutating func begin(_ sessions: [SessionID]) {
        running?.hinted.subtract(sessions)
        running?.isForced = false
        running?.hints.readBegins(sessions)
        // The read has no room for the other sessions, which wait on.
        if running?.hinted.isEmpty == true { running?.wantedSince = nil }
        running?.resync?.readBegins(sessions)
    }

    /// The read under way succeeded.
    ///
    /// - Parameter changes: The answer.
    /// - Returns: The sessions whose pauses begin, and why the read has found each session; nil if the followers of the read
    ///   have left.
    mutating func completed(
        _ changes: FeedChanges
    ) -> (pauses: [SessionID], causes: [SessionID: ShownChange.Cause])? {
        defer { flight = .none }
        guard case .reading = flight else { return nil }
        running?.position = changes.position
        let pauses = changes.items.map(\.progress).filter { note($0) }.map(\.sessionID)
        for (session, _) in changes.deleted { running?.sessions[session] = nil }
        var causes: [SessionID: ShownChange.Cause] = [:]
        for item in changes.items { causes[item.progress.sessionID] = cause(of: item.progress) }
        running?.hints.readSucceeded()
        if running?.resync?.isLastRead == true { running?.resync = nil }
        return (pauses, causes)
    }

    /// Why the read under way has found a state.
    private mutating func cause(of progress: SessionProgress) -> ShownChange.Cause {
        running?.hints.found(progress.sessionID, version: progress.version) ?? (isResyncing ? .resync : .other)
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
        if case .reading(let sessions, let since) = flight {
            running?.hinted.formUnion(sessions)
            running?.isForced = true
            let present = running?.wantedSince
            running?.wantedSince = earlier(since, present)
            running?.hints.readFailed()
            running?.resync?.readFailed(sessions)
        }
        flight = .none
    }
}

extension Feed.Read {
    func answer(from reader: any ProgressReader) async throws -> FeedChanges {
        try await reader.feed(since: since, also: sessions, rightsSince: rightsSince)
    }
}
