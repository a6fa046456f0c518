import Domain

/// The table of watchers: a slot for each, and for each session the list of its watchers.
///
/// The table does not know about reads and rights. The sub-machines that do keep columns of their own.
struct WatcherTable {
    /// The state of a watcher, with the user whose rights limit it.
    enum State {
        /// The slot has no watcher. Goes to ``authorizing(_:)`` or ``local``.
        case free
        /// The hub reads its right and its snapshot. Goes to ``detached(_:)`` or ``free``.
        case authorizing(Principal)
        /// It has its snapshot but no socket yet, and only its ``Watch`` can end it. Goes to ``ready(_:)`` or ``free``.
        case detached(Principal)
        /// Its socket has room for a message. Goes to ``blocked(_:)``, ``ended(_:)`` or ``free``.
        case ready(Principal)
        /// Its socket has no room. Goes to ``ready(_:)``, ``ended(_:)`` or ``free``.
        case blocked(Principal)
        /// It got its last message, and its socket still has the slot. Goes to ``free``.
        case ended(Principal)
        /// A local subscriber, which needs no right and always has room. Goes to ``free``.
        case local

        /// Whether the watcher has its snapshot, and gets every newer version.
        var hasBegun: Bool {
            switch self {
            case .detached, .ready, .blocked, .local: true
            case .free, .authorizing, .ended: false
            }
        }

        /// The watcher got a socket, or its socket has room again; false if it gets no message.
        mutating func unblock() -> Bool {
            switch self {
            case .detached(let principal), .ready(let principal), .blocked(let principal):
                self = .ready(principal)
                return true
            case .free, .authorizing, .ended, .local: return false
            }
        }

        /// The socket has no room.
        mutating func block() {
            if case .ready(let principal) = self { self = .blocked(principal) }
        }

        /// The user whose rights limit a watcher that may still get a message.
        var principal: Principal? {
            switch self {
            case .authorizing(let principal), .detached(let principal), .ready(let principal), .blocked(let principal):
                principal
            case .free, .ended, .local: nil
            }
        }

        var isReady: Bool { if case .ready = self { true } else { false } }
        var isLocal: Bool { if case .local = self { true } else { false } }

        /// The user of a watcher that has begun and has a socket; nil for any other.
        var attachedPrincipal: Principal? {
            switch self {
            case .ready(let principal), .blocked(let principal): principal
            case .free, .authorizing, .detached, .ended, .local: nil
            }
        }
    }

    private struct Row {
        var state = State.free
        var generation: UInt32 = 0
        /// The slot of its session; −1 for a follower, and for a watcher that has ended.
        var session: Int32 = -1
        /// Its neighbours among the watchers of the session; −1 for none.
        var next: Int32 = -1
        var previous: Int32 = -1
        /// Its neighbours among the watchers of the user; −1 for none.
        var nextOfUser: Int32 = -1
        var previousOfUser: Int32 = -1
        /// The version that was sent last.
        var sent: Int64 = 0
    }

    /// The memory of one watcher in this table, in bytes.
    static let bytesPerWatcher = MemoryLayout<Row>.stride

    private var rows = Column(initial: Row())
    private var slots = SlotList()
    private(set) var index = SessionIndex()
    private(set) var users = UserIndex()

    // MARK: - Registering

    /// Registers a watcher of a session, before its snapshot is read.
    ///
    /// - Parameters:
    ///   - state: The first state of the watcher.
    ///   - session: The session.
    /// - Returns: The watcher, the slot of the session, and whether this is the first watcher of the session.
    mutating func register(
        _ state: State, of session: SessionID
    ) -> (watcher: WatcherID, session: Int, isFirst: Bool) {
        let id = registerFollower(state)
        let slot = Int(id.slot)
        let (sessionSlot, next) = index.link(slot, to: session)
        rows[slot].session = Int32(sessionSlot)
        rows[slot].next = Int32(next)
        if next >= 0 { rows[next].previous = Int32(slot) }
        if state.hasBegun { index.countBegun(1, at: sessionSlot) }
        return (id, sessionSlot, next < 0)
    }

    /// Registers a follower, which watches no single session.
    mutating func registerFollower(_ state: State) -> WatcherID {
        let slot = slots.take()
        var row = Row()
        row.state = state
        row.generation = slot < rows.count ? rows[slot].generation &+ 1 : 0
        if let user = state.principal?.user { link(slot, &row, to: user) }
        rows[slot] = row
        return id(at: slot)
    }

    private mutating func link(_ slot: Int, _ row: inout Row, to user: UserID) {
        let first = users.first(of: user)
        row.nextOfUser = Int32(first)
        if first >= 0 { rows[first].previousOfUser = Int32(slot) }
        users.setFirst(slot, of: user)
    }

    /// Counts a stream of a user more, or one less.
    mutating func countStreams(_ change: Int, of user: UserID) { users.countStreams(change, of: user) }

    /// A watcher begins with a snapshot.
    ///
    /// - Parameters:
    ///   - id: The watcher.
    ///   - version: The version of the snapshot.
    /// - Returns: False if the watcher does not wait for a snapshot.
    mutating func begin(_ id: WatcherID, at version: Int64) -> Bool {
        guard case .authorizing(let principal) = state(of: id) else { return false }
        let slot = Int(id.slot)
        rows[slot].state = .detached(principal)
        rows[slot].sent = version
        if let session = sessionSlot(of: id) { index.countBegun(1, at: session) }
        return true
    }

    // MARK: - Sockets

    /// A watcher got a socket, or its socket has room again.
    ///
    /// - Parameter id: The watcher.
    /// - Returns: False if the watcher gets no message.
    mutating func unblock(_ id: WatcherID) -> Bool { isCurrent(id) && rows[Int(id.slot)].state.unblock() }

    /// The socket of a watcher has no room.
    mutating func block(_ id: WatcherID) {
        if isCurrent(id) { rows[Int(id.slot)].state.block() }
    }

    mutating func setSent(_ version: Int64, to id: WatcherID) { rows[Int(id.slot)].sent = version }

    // MARK: - Leaving

    /// A watcher gets its last message.
    ///
    /// Its socket has the slot until ``remove(_:)``.
    ///
    /// - Parameter id: The watcher.
    /// - Returns: False if the watcher has no socket, or already got its last message.
    mutating func end(_ id: WatcherID) -> Bool {
        guard let principal = state(of: id).attachedPrincipal else { return false }
        unlink(id)
        unlink(id, from: principal.user)
        rows[Int(id.slot)].state = .ended(principal)
        return true
    }

    /// Removes a watcher, and its session with its last watcher.
    ///
    /// - Parameter id: The watcher.
    /// - Returns: The state of the watcher before.
    @discardableResult
    mutating func remove(_ id: WatcherID) -> State {
        let state = state(of: id)
        switch state {
        case .free: return .free
        case .ended: break
        case .authorizing, .detached, .ready, .blocked, .local: unlink(id)
        }
        if let user = state.principal?.user { unlink(id, from: user) }
        var row = Row()
        row.generation = id.generation
        rows[Int(id.slot)] = row
        slots.release(Int(id.slot))
        return state
    }

    private mutating func unlink(_ id: WatcherID, from user: UserID) {
        let row = rows[Int(id.slot)]
        if row.nextOfUser >= 0 { rows[Int(row.nextOfUser)].previousOfUser = row.previousOfUser }
        if row.previousOfUser >= 0 {
            rows[Int(row.previousOfUser)].nextOfUser = row.nextOfUser
        } else {
            users.setFirst(Int(row.nextOfUser), of: user)
        }
    }

    private mutating func unlink(_ id: WatcherID) {
        guard let session = sessionSlot(of: id) else { return }
        let row = rows[Int(id.slot)]
        if row.state.hasBegun { index.countBegun(-1, at: session) }
        if row.next >= 0 { rows[Int(row.next)].previous = row.previous }
        if row.previous >= 0 {
            rows[Int(row.previous)].next = row.next
        } else {
            index.setFirst(Int(row.next), at: session)
        }
        // The next session may get the same slot.
        rows[Int(id.slot)].session = -1
    }

    // MARK: - Looking up

    /// The number of slots, free ones included.
    var count: Int { slots.count }
    var freeCount: Int { slots.freeCount }
    /// The number of watchers that have begun and not ended.
    var begunCount: Int { (0..<slots.count).count { rows[$0].state.hasBegun } }

    func id(at slot: Int) -> WatcherID { WatcherID(slot: UInt32(slot), generation: rows[slot].generation) }

    /// Whether a slot still has this watcher.
    private func isCurrent(_ id: WatcherID) -> Bool {
        Int(id.slot) < slots.count && rows[Int(id.slot)].generation == id.generation
    }

    /// The state of a watcher; ``State/free`` for one that was removed.
    func state(of id: WatcherID) -> State { isCurrent(id) ? rows[Int(id.slot)].state : .free }

    func sent(to id: WatcherID) -> Int64 { rows[Int(id.slot)].sent }

    /// The slot of the session of a watcher; nil for a follower, and for a watcher that has ended.
    func sessionSlot(of id: WatcherID) -> Int? {
        let row = rows[Int(id.slot)]
        return row.generation == id.generation && row.session >= 0 ? Int(row.session) : nil
    }

    /// The session of a watcher; nil for a follower, and for a watcher that has ended.
    func session(of id: WatcherID) -> SessionID? { sessionSlot(of: id).flatMap(index.session(at:)) }

    /// Whether a watcher is a follower that has begun and not ended.
    func isFollower(_ id: WatcherID) -> Bool { state(of: id).hasBegun && sessionSlot(of: id) == nil }

    /// The first watcher of a session.
    func firstWatcher(ofSessionAt slot: Int) -> WatcherID? {
        let first = index.first(at: slot)
        return first >= 0 ? id(at: first) : nil
    }

    /// The next watcher of the same session.
    func watcher(after id: WatcherID) -> WatcherID? {
        let next = Int(rows[Int(id.slot)].next)
        return next >= 0 ? self.id(at: next) : nil
    }

    /// All watchers of a session.
    func watchers(ofSessionAt slot: Int) -> [WatcherID] {
        firstWatcher(ofSessionAt: slot).map { Array(sequence(first: $0, next: watcher(after:))) } ?? []
    }

    /// All watchers of a user that may still get a message.
    func watchers(of user: UserID) -> [WatcherID] {
        var watchers: [WatcherID] = []
        var slot = users.first(of: user)
        while slot >= 0 {
            watchers.append(id(at: slot))
            slot = Int(rows[slot].nextOfUser)
        }
        return watchers
    }

    /// All watchers with a user that may still get a message.
    var watchersWithUser: [WatcherID] {
        (0..<count).lazy.map { id(at: $0) }.filter { state(of: $0).principal != nil }
    }

    func hasLocalSubscriber(ofSessionAt slot: Int) -> Bool {
        watchers(ofSessionAt: slot).contains { state(of: $0).isLocal }
    }
}
