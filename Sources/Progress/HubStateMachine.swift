public import Domain

/// What the database says of one watched session in one read.
public struct SessionReading: Sendable, Equatable {
    /// The state as it stands.
    public var progress: SessionProgress
    /// The transitions after the version that the read asked from, oldest first; the last may be the state itself.
    public var transitions: [StatusTransition]

    public init(progress: SessionProgress, transitions: [StatusTransition]) {
        self.progress = progress
        self.transitions = transitions
    }
}

/// The hub's decisions, as a value: which sessions to read, and which watcher is owed which reading.
///
/// It knows no clock, no database and no task. One rule carries correctness: a reading goes to a watcher when its version
/// is newer than the last that the watcher was given. Missed, doubled, reordered and forged hints only change which reads
/// are made.
struct HubStateMachine {
    /// Identifies one watcher for as long as it watches.
    struct WatcherID: Hashable, Sendable {
        fileprivate let number: UInt64
    }

    /// A read to be made: each session with the version to read from.
    struct Read: Equatable, Sendable {
        var sessions: [SessionID: Int64] = [:]
    }

    /// What a completed read leads to.
    struct Deliveries {
        /// Who is owed which reading, and the version that the watcher was given before.
        var deliveries: [(watcher: WatcherID, reading: SessionReading, after: Int64)] = []
        /// Sessions with news, to be read once more after a pause, which ends with ``pauseEnded(_:)``: a percentage that
        /// follows an announcement within half a second is committed without a hint.
        var readAfterPause: [SessionID] = []
        /// Watched sessions that are no more.
        var gone: [WatcherID] = []
    }

    /// Whether a read after a pause is on its way.
    private enum Pause {
        /// None: the next news, or the first snapshot, begins one.
        case none
        /// There has been nothing since it began; its end goes to ``none``.
        case running
        /// There has been news since it began: what follows that without a hint may come after its end, which therefore
        /// begins another, ``running``.
        case runningWithNews
    }

    private struct Watched {
        /// No watcher of this session that has a snapshot has been given less.
        ///
        /// Nil until the first snapshot.
        var known: Int64?
        /// A read is wanted.
        ///
        /// It waits for the first snapshot: before that there is no version to read from.
        var isStale = false
        var pause = Pause.none
        /// The version that each watcher was last given; nil until its snapshot is here.
        var watchers: [WatcherID: Int64?] = [:]
    }

    /// At most this many sessions in one read.
    private let readLimit: Int
    private var watched: [SessionID: Watched] = [:]
    private var sessionOf: [WatcherID: SessionID] = [:]
    private var nextWatcher: UInt64 = 0
    /// The read under way: one at a time, so that readings cannot overtake each other.
    private var reading: Read?

    init(readLimit: Int = 500) {
        self.readLimit = readLimit
    }

    var watchedSessions: [SessionID] { Array(watched.keys) }
    var watcherCount: Int { sessionOf.count }
    func watchers(of session: SessionID) -> [WatcherID] { watched[session].map { Array($0.watchers.keys) } ?? [] }
    var allWatchers: [WatcherID] { Array(sessionOf.keys) }

    /// Registers a watcher.
    ///
    /// It has to be here before its snapshot is read, or a change between the two would be nobody's.
    mutating func subscribe(to session: SessionID) -> WatcherID {
        nextWatcher += 1
        let watcher = WatcherID(number: nextWatcher)
        sessionOf[watcher] = session
        watched[session, default: Watched()].watchers[watcher] = .some(nil)
        return watcher
    }

    /// Gives a watcher the version of the snapshot that it begins with.
    ///
    /// A read may be wanted then.
    ///
    /// - Returns: Whether the session is to be read once more after a pause: nobody has heard what was announced before
    ///   the snapshot, and what follows that within half a second is committed without a hint.
    mutating func begin(_ watcher: WatcherID, at version: Int64) -> Bool {
        guard let session = sessionOf[watcher], var entry = watched[session] else { return false }
        let isFirst = entry.known == nil
        entry.watchers[watcher] = .some(version)
        if let known = entry.known {
            // The snapshot was read before what the others know: whatever lies between is owed to this watcher.
            if version < known {
                entry.known = version
                entry.isStale = true
            }
        } else {
            entry.known = version
            entry.pause = .running
        }
        watched[session] = entry
        return isFirst
    }

    /// Forgets a watcher, and its session with the last one.
    mutating func unsubscribe(_ watcher: WatcherID) {
        guard let session = sessionOf.removeValue(forKey: watcher) else { return }
        watched[session]?.watchers[watcher] = nil
        if watched[session]?.watchers.isEmpty == true { watched[session] = nil }
    }

    /// A hint says that `session` has come to `version`.
    ///
    /// Returns whether a read is wanted now.
    ///
    /// A hint may lie, so it can only cause a read. One that names a version already known adds nothing.
    mutating func hint(_ session: SessionID, version: Int64) -> Bool {
        guard let entry = watched[session], version > entry.known ?? 0 else { return false }
        watched[session]?.isStale = true
        return true
    }

    /// The pause after news of `session` is over, and a read is wanted.
    ///
    /// - Returns: Whether another begins.
    mutating func pauseEnded(_ session: SessionID) -> Bool {
        guard let entry = watched[session] else { return false }
        let isFollowed = entry.pause == .runningWithNews
        watched[session]?.pause = isFollowed ? .running : .none
        watched[session]?.isStale = true
        return isFollowed
    }

    /// Hints may have been lost, or the poll is due.
    mutating func markAllStale() {
        for session in watched.keys { watched[session]?.isStale = true }
    }

    /// The next read to make; nil while one is under way or when nothing is wanted.
    mutating func nextRead() -> Read? {
        guard reading == nil else { return nil }
        var read = Read()
        for (session, entry) in watched where entry.isStale {
            guard let known = entry.known else { continue }
            read.sessions[session] = known
            watched[session]?.isStale = false
            if read.sessions.count == readLimit { break }
        }
        guard !read.sessions.isEmpty else { return nil }
        reading = read
        return read
    }

    /// The read under way came back with every session that is newer than asked, and the ids of all that exist.
    mutating func completed(_ readings: [SessionReading], existing: Set<SessionID>) -> Deliveries {
        guard let read = reading else { return Deliveries() }
        reading = nil
        var result = Deliveries()
        for reading in readings {
            let session = reading.progress.sessionID
            guard let from = read.sessions[session], var entry = watched[session] else { continue }
            let version = reading.progress.version
            for (watcher, given) in entry.watchers {
                // A watcher that has no snapshot yet will begin with one that is at least as new or cause a read of its
                // own; one that began behind this read is owed more than the reading holds, and is stale already.
                guard let given, given >= from, given < version else { continue }
                result.deliveries.append((watcher, reading, given))
                entry.watchers[watcher] = .some(version)
            }
            if let known = entry.known, known >= from, known < version { entry.known = version }
            if entry.pause == .none {
                entry.pause = .running
                result.readAfterPause.append(session)
            } else {
                entry.pause = .runningWithNews
            }
            watched[session] = entry
        }
        for session in read.sessions.keys where !existing.contains(session) {
            result.gone += watchers(of: session)
        }
        return result
    }

    /// The read under way failed: what it wanted is still wanted.
    mutating func failed() {
        guard let read = reading else { return }
        reading = nil
        for session in read.sessions.keys { watched[session]?.isStale = true }
    }
}
