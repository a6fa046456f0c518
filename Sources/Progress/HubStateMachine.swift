import DequeModule
import Domain

/// What the database says of one watched session in one read.
struct SessionReading: Sendable, Equatable {
    /// The state as it stands.
    var progress: SessionProgress
    /// The transitions after the version that the read asked from, oldest first; the last may be the state itself.
    var transitions: [StatusTransition]
}

/// The hub's decisions, as a value: which sessions to read, and which watcher is owed which message.
///
/// It knows no clock, no database, no socket and no task. One rule carries correctness: a state goes to a watcher when its
/// version is newer than the last that the watcher was given. Missed, doubled, reordered and forged hints only change
/// which reads are made.
///
/// Two kinds of reads serve the watchers. A *reading* asks about sessions, and its news goes to all who watch them, may see
/// them under the rights of the same snapshot, and have room. Whoever misses one of these is *behind*, and a *catch-up*
/// asks again for that watcher alone, rights and state in one snapshot. So a slow client and a change of rights cost a read,
/// never a wrong frame and never a backlog.
struct HubStateMachine {
    /// Which queue a reading serves; each has one reading under way at a time.
    enum Lane: Int, CaseIterable, Sendable {
        /// Somebody says that these sessions have changed.
        case hints
        /// The poll looks at everything; it must not keep hints waiting.
        case poll
    }

    /// Whether a read after a pause is on its way.
    enum Pause: UInt8 {
        /// None: the next news, or the first snapshot, begins one.
        case none
        /// There has been nothing since it began; its end goes to ``none``.
        case running
        /// There has been news since it began: what follows that without a hint may come after its end, which therefore
        /// begins another, ``running``.
        case runningWithNews
    }

    /// A session that somebody watches.
    struct Watched {
        /// No watcher that has begun and is not behind was given less.
        var known: Int64 = 0
        /// The first of its watchers; the others hang on to it.
        var first: Int32 = -1
        /// How many of them have begun.
        var begun: Int32 = 0
        var isHinted = false
        var isPolled = false
        var pause = Pause.none
    }

    struct Watcher {
        enum Phase: UInt8 {
            /// Nobody has this place.
            case free
            /// Its snapshot is not here yet; goes to ``begun`` or ``free``.
            case opening
            /// It is owed what is newer than ``given``; goes to ``ended`` or ``free``.
            case begun
            /// Its last message is out, but its socket still has the place; goes to ``free``.
            case ended
        }

        var phase = Phase.free
        /// It has a socket.
        ///
        /// Until then nothing can end it but its opener.
        var isAttached = false
        /// There is room for a message.
        var isReady = false
        /// It has missed something, and a catch-up is to read it.
        var isBehind = false
        /// It was told that reads fail.
        var knowsTrouble = false
        var generation: UInt32 = 0
        var session: SessionID?
        /// Nil for a watcher within the program, whom no right limits.
        var principal: Principal?
        /// The version that it was last given.
        var given: Int64 = 0
        /// It was seen to have the right under this epoch, and it has it as long as the epoch stays.
        var epoch: Int64 = 0
        /// Its neighbours among the watchers of the session; −1 for none.
        var next: Int32 = -1
        var previous: Int32 = -1
    }

    /// At most this many sessions or watchers in one read.
    let readLimit: Int
    var watchers: [Watcher] = []
    var freePlaces: [Int] = []
    var watched: [SessionID: Watched] = [:]
    var admission: StreamAdmission

    /// The sessions to be read, in the order in which it became known; each at most once in a lane.
    var queues = [Deque<SessionID>](repeating: [], count: Lane.allCases.count)
    /// The readings under way.
    var underWay = [Reading?](repeating: nil, count: Lane.allCases.count)
    /// Watchers who are behind and have room, and the catch-up under way.
    var behind: Deque<WatcherID> = []
    var catchUp: [CatchUpRequest]?

    /// Those who follow all the sessions of a caseload, by their place, and those of them for whom something is to be read.
    var followers: [Int: Follower] = [:]
    var followerQueue: Deque<WatcherID> = []
    var followerReadsUnderWay = 0
    var feed = Feed()

    /// The newest epoch of rights that any read has shown.
    var epoch: Int64 = 0
    var sweep = RightsSweep()
    /// Reads fail at present.
    var isDegraded = false
    /// What the poll has found whose hint may still be on its way.
    var unannounced: [SessionID: Int64] = [:]
    /// A reading without sessions is wanted, for the epoch alone.
    var isEpochWanted = false

    init(readLimit: Int = 500, admission: StreamAdmission = .unlimited) {
        self.readLimit = readLimit
        self.admission = admission
    }

    var watchedSessions: [SessionID] { Array(watched.keys) }

    // MARK: - Watchers

    /// Registers a watcher.
    ///
    /// It has to be here before its snapshot is read, or a change between the two would be nobody's.
    mutating func register(_ session: SessionID, for principal: Principal?) -> WatcherID {
        let place = takePlace(for: principal)
        watchers[place].session = session
        link(place, to: session)
        return id(at: place)
    }

    mutating func takePlace(for principal: Principal?) -> Int {
        var watcher = Watcher()
        watcher.phase = .opening
        watcher.principal = principal
        guard let place = freePlaces.popLast() else {
            // By an eighth, not twofold: this is most of what a stream takes.
            if watchers.count == watchers.capacity { watchers.reserveCapacity(watchers.count * 9 / 8 + 64) }
            watchers.append(watcher)
            return watchers.count - 1
        }
        watcher.generation = watchers[place].generation &+ 1
        watchers[place] = watcher
        return place
    }

    /// What comes of a snapshot.
    enum Beginning: Equatable {
        /// The watcher has begun.
        ///
        /// With a pause, its session is to be read once more after it: nobody has heard what was announced before the
        /// snapshot, and what follows that within half a second is committed without a hint.
        case begun(pauses: Bool)
        /// There are too many streams, and the watcher is gone.
        case turnedAway
    }

    /// Gives a watcher the version of its snapshot, and the epoch of the same.
    mutating func begin(_ id: WatcherID, at version: Int64, epoch: Int64) -> Beginning {
        guard let place = place(of: id), watchers[place].phase == .opening, let session = watchers[place].session
        else { return .turnedAway }
        if let principal = watchers[place].principal, !admission.admit(principal.user) {
            release(id)
            return .turnedAway
        }
        saw(epoch: epoch)
        watchers[place].phase = .begun
        watchers[place].given = version
        watchers[place].epoch = epoch
        var entry = watched[session] ?? Watched()
        entry.begun += 1
        let known = entry.known
        let pauses = entry.pause == .none
        if pauses {
            entry.pause = .running
        } else if version > known {
            // News as well, and for whoever begins alone, the hint that is still on its way will be none.
            entry.pause = .runningWithNews
        }
        if entry.begun == 1, version > known { entry.known = version }
        watched[session] = entry
        if entry.begun > 1, version > known {
            // The others have not heard of it yet.
            enqueue(session, .hints)
        } else if version < known {
            // It was read before what the others know: whatever lies between is owed to this watcher.
            markBehind(place)
        }
        return .begun(pauses: pauses)
    }

    /// Registers a watcher within the program, who is told the state as it stands and then each that is newer.
    mutating func listen(to session: SessionID) -> WatcherID {
        let id = register(session, for: nil)
        watchers[Int(id.place)].phase = .begun
        watchers[Int(id.place)].isAttached = true
        watched[session]?.begun += 1
        watched[session]?.known = 0
        enqueue(session, .hints)
        return id
    }

    func isAttached(_ id: WatcherID) -> Bool { place(of: id).map { watchers[$0].isAttached } ?? true }

    func isListener(_ id: WatcherID) -> Bool { place(of: id).map { watchers[$0].principal == nil } ?? false }

    /// Whether no read has shown that rights have changed since a watcher was let in.
    func isCurrent(_ id: WatcherID) -> Bool { place(of: id).map { watchers[$0].epoch >= epoch } ?? true }

    func isFollower(_ id: WatcherID) -> Bool { place(of: id).map { followers[$0] != nil } ?? false }

    /// What a watcher of a session was let in with has not gone out: it is asked about again, and told from the version that
    /// its client has.
    ///
    /// - Parameter version: 0 for none.
    mutating func withhold(_ id: WatcherID, given version: Int64) {
        guard let place = place(of: id), followers[place] == nil else { return }
        watchers[place].given = version
        markBehind(place)
    }

    /// A watcher has a socket now, or room in it again.
    ///
    /// - Returns: What it is to be told of how things stand.
    mutating func ready(_ id: WatcherID) -> Delivery? {
        guard let place = place(of: id), watchers[place].phase == .begun else { return nil }
        watchers[place].isAttached = true
        watchers[place].isReady = true
        // Rights may have changed since it was let in, and the sweep may have gone past it.
        let isOutdated = watchers[place].epoch < epoch
        if let follower = followers[place] {
            if isOutdated { markForReopening(place) }
            if follower.isBehind || follower.needsReopening { followerQueue.append(id) }
        } else if watchers[place].isBehind {
            behind.append(id)
        } else if isOutdated {
            markBehind(place)
        }
        guard watchers[place].knowsTrouble != isDegraded else { return nil }
        watchers[place].knowsTrouble = isDegraded
        return Delivery(isDegraded ? .degraded : .recovered, to: [id])
    }

    /// A watcher has no room at present.
    mutating func filled(_ id: WatcherID) {
        if let place = place(of: id) { watchers[place].isReady = false }
    }

    /// Notes what became of a message at a watcher who did not simply get it.
    ///
    /// - Returns: What the watcher is to be told instead.
    mutating func note(_ exception: DeliveryException, of id: WatcherID, in delivery: Delivery) -> Delivery? {
        guard let place = place(of: id) else { return nil }
        switch exception {
        case .gone: release(id)
        case .full: watchers[place].isReady = false
        case .refused:
            watchers[place].isReady = false
            switch delivery.message {
            case .state:
                watchers[place].given = delivery.given
                markBehind(place)
            case .degraded: watchers[place].knowsTrouble = false
            case .recovered: watchers[place].knowsTrouble = true
            // It comes back with the position that it has, and is told from there.
            case .caseload: return Delivery(.goodbye, to: [id])
            case .revoked, .expired, .goodbye: break
            }
        }
        return nil
    }

    /// The watcher gets its last message now: it is owed nothing more, but it has its place, and counts as a stream of its
    /// user's, until ``release(_:)``.
    ///
    /// - Returns: False when it was over before.
    @discardableResult
    mutating func end(_ id: WatcherID) -> Bool {
        guard let place = place(of: id), watchers[place].phase == .begun, watchers[place].isAttached else {
            return false
        }
        leave(place)
        watchers[place].phase = .ended
        return true
    }

    /// Forgets a watcher, and its session with the last one.
    mutating func release(_ id: WatcherID) {
        guard let place = place(of: id) else { return }
        if watchers[place].phase != .opening, let principal = watchers[place].principal {
            admission.leave(principal.user)
        }
        if watchers[place].phase != .ended { leave(place) }
        var free = Watcher()
        free.generation = id.generation
        watchers[place] = free
        freePlaces.append(place)
    }

    func session(of id: WatcherID) -> SessionID? { place(of: id).flatMap { watchers[$0].session } }

    /// How many have begun and not ended.
    var begunCount: Int { watchers.count { $0.phase == .begun } }
    /// Nobody watches anything.
    var isIdle: Bool { watched.isEmpty && followers.isEmpty }
}
