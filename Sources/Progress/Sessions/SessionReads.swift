import DequeModule
import Domain
import Store

/// Which watched sessions the hub reads, and when: in batches, one batch of a lane at a time.
///
/// Lost, repeated, reordered and forged hints only change which reads the hub makes.
struct SessionReads {
    /// What an event leads to.
    enum Action {
        /// The read after version `from` found a newer version of a session.
        case news(SessionReading, from: Int64, ShownChange.Cause)
        /// A read did not find a session. Its local subscribers end unless a later read of it is wanted.
        case missing(SessionID, endsLocalSubscribers: Bool)
        /// This release cannot read a session, or one of its transitions.
        case unreadable(SessionID)
        /// Read a session again after a pause.
        case pause(SessionID)
        /// A watcher begins with an older snapshot than the others of its session have: a catch-up reads for it.
        case catchUp(WatcherID)
    }

    /// The two queues.
    ///
    /// Each has at most one read under way.
    enum Lane: Int, CaseIterable, Sendable {
        /// Sessions that may have changed.
        case hints
        /// Everything that is watched. It must not delay hints.
        case poll
    }

    /// What is known of one watched session.
    private struct State {
        /// Every watcher that has begun and is not behind was sent this version or a newer one.
        var known: Int64 = 0
        var isHinted = false
        var isPolled = false
        var pause = Pause.none
    }

    /// The sessions that wait in a lane, in the order of their arrival, and the read under way.
    private struct Queue {
        var sessions: Deque<SessionID> = []
        var underWay: SessionRead?
    }

    /// The largest number of sessions in one read.
    private let limit: Int
    private var states = Column(initial: State())
    private var queues = [Queue](repeating: Queue(), count: Lane.allCases.count)
    /// The versions that the poll has found, and whose hints may still come.
    private var unannounced: [SessionID: Int64] = [:]
    /// When the hints came that the lane of hints has not answered yet.
    private var hints = HintTimes()
    /// The number of sessions at the head of the lane of hints that a resync still has to read.
    ///
    /// With 0, the read under way is the last one. Nil without a resync.
    private var leftToResync: Int?

    /// The memory of one session in this sub-machine, in bytes.
    static let bytesPerSession = MemoryLayout<State>.stride

    init(limit: Int) { self.limit = limit }

    // MARK: - Watchers

    /// A session gets its first watcher.
    mutating func watch(_ slot: Int) { states[slot] = State() }

    /// A watcher begins with a snapshot.
    ///
    /// - Parameters:
    ///   - id: The watcher.
    ///   - version: The version of the snapshot.
    ///   - session: The session.
    ///   - slot: The slot of the session.
    ///   - table: The watchers.
    /// - Returns: The actions.
    mutating func begin(
        _ id: WatcherID, at version: Int64, of session: SessionID, at slot: Int, in table: WatcherTable
    ) -> [Action] {
        var actions: [Action] = []
        let known = states[slot].known
        if version < known { actions.append(.catchUp(id)) }
        if states[slot].pause == .none {
            states[slot].pause = .running
            actions.append(.pause(session))
        } else if version > known {
            // A newer snapshot counts as news. If this watcher is the only one, the hint of that version causes no read
            // and no news.
            states[slot].pause = .runningWithNews
        }
        if version > known {
            if table.index.begunCount(at: slot) == 1 {
                states[slot].known = version
            } else {
                // The other watchers do not have this version yet.
                want(session, at: slot, in: .hints)
            }
        }
        return actions
    }

    /// A local subscriber begins, and gets the present state.
    mutating func beginLocal(_ session: SessionID, at slot: Int) {
        states[slot].known = 0
        want(session, at: slot, in: .hints)
    }

    /// The version that all watchers of a session have, except those that are behind.
    func known(at slot: Int) -> Int64 { states[slot].known }

    // MARK: - Wanting to read

    /// A hint says that a session has reached a version.
    ///
    /// A hint may be forged: it can cause a read, and nothing else. A hint of a known version causes none.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - version: The version; 0 if the session was deleted.
    ///   - now: The moment of the hint.
    ///   - table: The watchers.
    mutating func hint(
        _ session: SessionID, version: Int64, at now: ContinuousClock.Instant, in table: WatcherTable
    ) {
        // Hints that arrive together are merged: a deletion stands for all hints before it.
        if let found = unannounced[session], version == 0 || version >= found { unannounced[session] = nil }
        guard let slot = table.index.slot(of: session), version == 0 || version > states[slot].known else { return }
        hints.note(session, version: version, at: now)
        want(session, at: slot, in: .hints)
    }

    /// The moment of the oldest hint that no read has answered; nil if there is none.
    var oldestHint: ContinuousClock.Instant? { hints.oldest }

    /// Hints may have been lost: the hub reads everything that is watched.
    mutating func resync(in table: WatcherTable) {
        for session in table.index.sessions { want(session, in: .hints, of: table) }
        // A read under way may be too old: its sessions wait again.
        let waiting = queues[Lane.hints.rawValue].sessions.count
        if waiting > 0 { leftToResync = waiting }
    }

    /// Whether a session still waits for a read since a resync, or is being read.
    var isResyncing: Bool { leftToResync != nil }

    /// The versions that are known mean nothing any more: the hub reads everything that is watched.
    mutating func restart(in table: WatcherTable) {
        for session in table.index.sessions {
            guard let slot = table.index.slot(of: session) else { continue }
            states[slot].known = 0
            want(session, at: slot, in: .hints)
        }
    }

    /// A poll has found that something was committed since the last poll.
    ///
    /// - Returns: The number of sessions of which the last poll found news and no hint has come since. It is 0 on a healthy
    ///   server.
    mutating func pollBegins() -> Int {
        defer { unannounced.removeAll(keepingCapacity: true) }
        return unannounced.count
    }

    /// The poll has found a hint that was sent, and perhaps lost.
    mutating func poll(_ session: SessionID, version: Int64, in table: WatcherTable) {
        guard let slot = table.index.slot(of: session), !states[slot].isHinted,
            version == 0 || version > states[slot].known
        else { return }
        want(session, at: slot, in: .poll)
    }

    /// The poll cannot name what was committed: the hub reads everything that is watched.
    mutating func pollAll(in table: WatcherTable) {
        for session in table.index.sessions {
            guard let slot = table.index.slot(of: session), !states[slot].isHinted else { continue }
            want(session, at: slot, in: .poll)
        }
    }

    /// The pause after news of a session has ended: the hub reads it again.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - table: The watchers.
    /// - Returns: Whether another pause begins.
    mutating func pauseEnded(_ session: SessionID, in table: WatcherTable) -> Bool {
        guard let slot = table.index.slot(of: session) else { return false }
        let continues = states[slot].pause.end()
        want(session, at: slot, in: .hints)
        return continues
    }

    private mutating func want(_ session: SessionID, in lane: Lane, of table: WatcherTable) {
        if let slot = table.index.slot(of: session) { want(session, at: slot, in: lane) }
    }

    private mutating func want(_ session: SessionID, at slot: Int, in lane: Lane) {
        guard !isWanted(slot, in: lane) else { return }
        setWanted(true, slot, in: lane)
        queues[lane.rawValue].sessions.append(session)
    }

    private func isWanted(_ slot: Int, in lane: Lane) -> Bool {
        switch lane {
        case .hints: states[slot].isHinted
        case .poll: states[slot].isPolled
        }
    }

    private mutating func setWanted(_ isWanted: Bool, _ slot: Int, in lane: Lane) {
        switch lane {
        case .hints: states[slot].isHinted = isWanted
        case .poll: states[slot].isPolled = isWanted
        }
    }

    // MARK: - Reading

    /// Whether no session is being read or waits for a read.
    var isAtRest: Bool { queues.allSatisfy { $0.sessions.isEmpty && $0.underWay == nil } }

    /// The next read of a lane; nil while one is under way, or if nothing is wanted.
    ///
    /// - Parameters:
    ///   - lane: The lane.
    ///   - table: The watchers.
    ///   - snapshot: The snapshot after which the read looks for changes of rights.
    /// - Returns: The read.
    mutating func nextRead(
        _ lane: Lane, in table: WatcherTable, rightsSince snapshot: DatabaseSnapshot?
    ) -> SessionRead? {
        guard queues[lane.rawValue].underWay == nil else { return nil }
        var read = SessionRead(rightsSince: snapshot)
        while read.sessions.count < limit, let session = queues[lane.rawValue].sessions.popFirst() {
            if lane == .hints, let left = leftToResync, left > 0 { leftToResync = left - 1 }
            // A session that lost its watchers and is watched again may be in the queue twice. It is wanted once at most.
            guard let slot = table.index.slot(of: session), isWanted(slot, in: lane) else {
                if lane == .hints { hints.forget(session) }
                continue
            }
            setWanted(false, slot, in: lane)
            read.sessions.append(session)
            read.versions.append(states[slot].known)
        }
        // Free the memory after a burst.
        if queues[lane.rawValue].sessions.isEmpty { queues[lane.rawValue].sessions = [] }
        guard !read.sessions.isEmpty else {
            // The watchers of the last sessions have left.
            if lane == .hints, leftToResync == 0 { leftToResync = nil }
            return nil
        }
        queues[lane.rawValue].underWay = read
        if lane == .hints { hints.readBegins(read.sessions) }
        return read
    }

    /// The read of a lane succeeded.
    mutating func completed(_ lane: Lane, _ answer: SessionReadAnswer, in table: WatcherTable) -> [Action] {
        guard let read = queues[lane.rawValue].underWay else { return [] }
        queues[lane.rawValue].underWay = nil
        let versions = Dictionary(uniqueKeysWithValues: zip(read.sessions, read.versions))
        var actions: [Action] = []
        for item in answer.news {
            guard let from = versions[item.progress.sessionID],
                let slot = table.index.slot(of: item.progress.sessionID)
            else { continue }
            actions.append(.news(item, from: from, cause(of: item.progress, lane)))
            if note(item.progress.version, of: item.progress.sessionID, at: slot, from: from, lane, in: table) {
                actions.append(.pause(item.progress.sessionID))
            }
        }
        if lane == .hints {
            hints.readSucceeded()
            if leftToResync == 0 { leftToResync = nil }
        }
        return actions + answer.missing.compactMap { miss($0, lane, in: table) }
            + answer.unreadable.map(Action.unreadable)
    }

    /// Why a read of a lane has found a state.
    private mutating func cause(of progress: SessionProgress, _ lane: Lane) -> ShownChange.Cause {
        if let cause = hints.found(progress.sessionID, version: progress.version) { return cause }
        guard lane == .hints else { return .poll }
        return isResyncing ? .resync : .other
    }

    /// Notes that a read found a version of a session, and returns whether a pause begins.
    private mutating func note(
        _ version: Int64, of session: SessionID, at slot: Int, from: Int64, _ lane: Lane, in table: WatcherTable
    ) -> Bool {
        let state = states[slot]
        guard state.known < version else { return false }
        // A read that began before a local subscriber did must not count as the read that the subscriber waits for.
        if state.known >= from { states[slot].known = version }
        let isAnnounced =
            state.isHinted || queues[Lane.hints.rawValue].underWay?.sessions.contains(session) == true
        // Watchers that still wait for their snapshots have missed nothing.
        let hasBegun = table.index.begunCount(at: slot) > 0
        if lane == .poll, hasBegun, state.pause == .none, !isAnnounced { unannounced[session] = version }
        return states[slot].pause.begin()
    }

    /// A read did not find a session.
    ///
    /// The session may have been created after the database snapshot of the read, and a watcher may have seen it since.
    /// A watcher therefore ends only after a later read. For a watcher with a socket, that is a catch-up. For a local
    /// subscriber, it is the read in the lane of hints that the subscriber wanted when it began.
    private mutating func miss(_ session: SessionID, _ lane: Lane, in table: WatcherTable) -> Action? {
        guard let slot = table.index.slot(of: session) else { return nil }
        if lane == .poll, table.hasLocalSubscriber(ofSessionAt: slot) { want(session, at: slot, in: .hints) }
        return .missing(session, endsLocalSubscribers: lane == .hints && !states[slot].isHinted)
    }

    /// The read of a lane failed: everything that it was for is still wanted.
    mutating func failed(_ lane: Lane, in table: WatcherTable) {
        guard let read = queues[lane.rawValue].underWay else { return }
        queues[lane.rawValue].underWay = nil
        for session in read.sessions { want(session, in: lane, of: table) }
        guard lane == .hints else { return }
        hints.readFailed()
        for session in read.sessions where table.index.slot(of: session) == nil { hints.forget(session) }
        // The sessions of the read wait at the end of the queue.
        if leftToResync != nil { leftToResync = queues[lane.rawValue].sessions.count }
    }
}
