import DequeModule
import Domain

/// Which watched sessions are read, and when: in batches, one batch of a lane at a time.
///
/// Missed, doubled, reordered and forged hints only change which reads are made.
struct SessionReads {
    /// What an answer leads to.
    enum Action {
        /// A session has come to a newer version than `from`.
        case news(SessionReading, from: Int64)
        /// A session does not exist. Local subscribers end by that if no later read of it is wanted.
        case missing(SessionID, endsLocalSubscribers: Bool)
        /// A session has to be read again after a pause.
        case pause(SessionID)
    }

    /// Which queue a read serves; each has one read under way at a time.
    enum Lane: Int, CaseIterable, Sendable {
        /// Sessions that are said to have changed.
        case hints
        /// Everything that is watched; it must not keep hints waiting.
        case poll
    }

    /// How a watcher stands to the others of its session when it begins.
    enum Beginning: Equatable {
        case current
        /// Its snapshot is older than what the others know: what lies between is owed to it.
        case behind
    }

    /// What is known of one watched session.
    private struct State {
        /// No watcher that has begun and is not behind was sent less.
        var known: Int64 = 0
        var isHinted = false
        var isPolled = false
        var pause = Pause.none
    }

    /// The sessions that wait in a lane, in the order in which it became known, and the read under way.
    private struct Queue {
        var sessions: Deque<SessionID> = []
        var underWay: SessionRead?
    }

    /// At most this many sessions in one read.
    private let limit: Int
    private var states = Column(initial: State())
    private var queues = [Queue](repeating: Queue(), count: Lane.allCases.count)
    /// A read is wanted even if no session is, for the epoch of rights.
    private var isEpochWanted = false
    /// What the poll has found whose hint may still be on its way.
    private var unannounced: [SessionID: Int64] = [:]

    /// The memory of one session here, in bytes.
    static let bytesPerSession = MemoryLayout<State>.stride

    init(limit: Int) { self.limit = limit }

    // MARK: - Watchers

    /// A session has its first watcher.
    mutating func watch(_ slot: Int) { states[slot] = State() }

    /// A watcher begins with a snapshot of a version.
    mutating func begin(
        at version: Int64, of session: SessionID, at slot: Int, in table: WatcherTable
    ) -> (beginning: Beginning, actions: [Action]) {
        let known = states[slot].known
        let pauses = states[slot].pause == .none
        if pauses {
            states[slot].pause = .running
        } else if version > known {
            // News as well: if it is the only watcher, the hint that is still on its way adds nothing.
            states[slot].pause = .runningWithNews
        }
        if version > known {
            if table.index.begunCount(at: slot) == 1 {
                states[slot].known = version
            } else {
                // The others do not have it yet.
                want(session, at: slot, in: .hints)
            }
        }
        return (version < known ? .behind : .current, pauses ? [.pause(session)] : [])
    }

    /// A local subscriber begins, and has to get the present state.
    mutating func beginLocal(_ session: SessionID, at slot: Int) {
        states[slot].known = 0
        want(session, at: slot, in: .hints)
    }

    /// The version that every watcher of a session has that is not behind.
    func known(at slot: Int) -> Int64 { states[slot].known }

    // MARK: - Wanting to read

    /// A hint says that a session has come to a version; 0 says that it is deleted.
    ///
    /// A hint may lie, so it can only cause a read. One that names a version already known adds nothing.
    mutating func hint(_ session: SessionID, version: Int64, in table: WatcherTable) {
        // A deletion stands for all that came before it: hints that come together are joined.
        if let found = unannounced[session], version == 0 || version >= found { unannounced[session] = nil }
        guard let slot = table.index.slot(of: session), version == 0 || version > states[slot].known else { return }
        want(session, at: slot, in: .hints)
    }

    /// Hints may have been lost: everything is read.
    mutating func resync(in table: WatcherTable) {
        for session in table.index.sessions { want(session, in: .hints, of: table) }
        isEpochWanted = true
    }

    /// The poll is due: something was committed since the last one.
    ///
    /// - Returns: How many sessions the last one has found news of that no hint has told of since: in a healthy server,
    ///   none.
    mutating func poll(in table: WatcherTable) -> Int {
        defer { unannounced.removeAll(keepingCapacity: true) }
        for session in table.index.sessions {
            guard let slot = table.index.slot(of: session), !states[slot].isHinted else { continue }
            want(session, at: slot, in: .poll)
        }
        isEpochWanted = true
        return unannounced.count
    }

    /// Rights have changed: only a read that begins from now on shows how.
    mutating func wantEpoch() { isEpochWanted = true }

    /// The pause after news of a session is over, and a read is wanted.
    ///
    /// - Returns: Whether another begins.
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

    /// Nothing is being read, and nothing waits to be.
    var isAtRest: Bool { queues.allSatisfy { $0.sessions.isEmpty && $0.underWay == nil } }

    /// The next read of a lane; nil while one is under way or when nothing is wanted.
    mutating func nextRead(_ lane: Lane, in table: WatcherTable) -> SessionRead? {
        guard queues[lane.rawValue].underWay == nil else { return nil }
        var read = SessionRead()
        while read.sessions.count < limit, let session = queues[lane.rawValue].sessions.popFirst() {
            // A session that was forgotten and is watched again may stand here twice; it is wanted once, if at all.
            guard let slot = table.index.slot(of: session), isWanted(slot, in: lane) else { continue }
            setWanted(false, slot, in: lane)
            read.sessions.append(session)
            read.versions.append(states[slot].known)
        }
        // After a burst the memory is not kept.
        if queues[lane.rawValue].sessions.isEmpty { queues[lane.rawValue].sessions = [] }
        let isForEpoch = lane == .hints && isEpochWanted
        guard !read.sessions.isEmpty || isForEpoch else { return nil }
        if isForEpoch { isEpochWanted = false }
        queues[lane.rawValue].underWay = read
        return read
    }

    /// The read of a lane came back.
    mutating func completed(_ lane: Lane, _ answer: SessionReadAnswer, in table: WatcherTable) -> [Action] {
        guard let read = queues[lane.rawValue].underWay else { return [] }
        queues[lane.rawValue].underWay = nil
        let asked = Dictionary(uniqueKeysWithValues: zip(read.sessions, read.versions))
        var actions: [Action] = []
        for item in answer.news {
            guard let from = asked[item.progress.sessionID],
                let slot = table.index.slot(of: item.progress.sessionID)
            else { continue }
            actions.append(.news(item, from: from))
            if note(item.progress.version, of: item.progress.sessionID, at: slot, from: from, lane, in: table) {
                actions.append(.pause(item.progress.sessionID))
            }
        }
        return actions + answer.missing.compactMap { miss($0, lane, in: table) }
    }

    /// Notes that a session has come to a version.
    ///
    /// - Returns: Whether a pause begins.
    private mutating func note(
        _ version: Int64, of session: SessionID, at slot: Int, from: Int64, _ lane: Lane, in table: WatcherTable
    ) -> Bool {
        let state = states[slot]
        guard state.known < version else { return false }
        // A read from before a local subscriber began does not raise what that one waits for.
        if state.known >= from { states[slot].known = version }
        let isAnnounced =
            state.isHinted || queues[Lane.hints.rawValue].underWay?.sessions.contains(session) == true
        // To watchers that wait for their snapshots, nothing is news.
        let hasBegun = table.index.begunCount(at: slot) > 0
        if lane == .poll, hasBegun, state.pause == .none, !isAnnounced { unannounced[session] = version }
        return states[slot].pause.begin()
    }

    /// A read did not find a session.
    ///
    /// It may be from before the session was made, and a watcher may have seen it since. So none ends that was not asked
    /// about later: watchers with sockets are caught up, and local subscribers wait for the read that they wanted when they
    /// began, in the lane of the hints.
    private mutating func miss(_ session: SessionID, _ lane: Lane, in table: WatcherTable) -> Action? {
        guard let slot = table.index.slot(of: session) else { return nil }
        if lane == .poll, table.hasLocalSubscriber(ofSessionAt: slot) { want(session, at: slot, in: .hints) }
        return .missing(session, endsLocalSubscribers: lane == .hints && !states[slot].isHinted)
    }

    /// The read of a lane failed: what it wanted is still wanted.
    mutating func failed(_ lane: Lane, in table: WatcherTable) {
        guard let read = queues[lane.rawValue].underWay else { return }
        queues[lane.rawValue].underWay = nil
        if lane == .hints { isEpochWanted = true }
        for session in read.sessions { want(session, in: lane, of: table) }
    }
}
