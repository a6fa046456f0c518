import DequeModule

/// Decides which caller gets which connection, without I/O, lock or clock.
///
/// A connection has a slot from the decision to open it until its descriptor is closed. The number of slots is
/// therefore the limit that docs/database.md, "Connections", promises. Events return actions, which the pool carries
/// out after it has released its lock.
struct PoolStateMachine {
    typealias SlotID = Int
    typealias WaiterID = Int

    /// The pool's limits.
    struct Limits {
        /// How many connections there may be at once.
        var size: Int
        /// How many callers may wait for one.
        var maximumWaiters: Int
        /// How long a connection may be unused before it is checked when it is lent.
        var checkAfter: Duration
        /// How long a connection may be unused before it is closed; nil keeps it.
        var idleTimeout: Duration?
        /// The pause after the first failure to connect.
        ///
        /// It doubles with each further failure.
        var firstBackOff: Duration = .milliseconds(50)
        /// The longest pause between two attempts.
        var maximumBackOff: Duration = .seconds(1)
    }

    /// Why a waiter gets no connection.
    enum Refusal: Equatable {
        /// Too many callers wait.
        case tooManyWaiters
        /// The pool is shut down.
        case closed
        /// The pool has no connection and cannot open one: waiting cannot help, or the caller does not want to wait.
        case cannotConnect
    }

    /// What the pool does next.
    enum Action: Equatable {
        /// Open a connection for a slot, after a pause.
        ///
        /// Report `connectDue` first, then `connected` or `connectFailed`.
        case connect(SlotID, after: Duration)
        /// Lend a connection.
        ///
        /// If `needsCheck`, first check that it still works.
        case grant(WaiterID, SlotID, needsCheck: Bool)
        /// Tell a waiter that it gets no connection.
        case refuse(WaiterID, Refusal)
        /// Close a connection and report `closed`.
        case close(SlotID)
        /// The last connection of a pool that is shut down is closed.
        case finished
    }

    private enum Slot {
        /// A connection is wanted, and the pause before the attempt goes on. → connecting, or removed
        case backingOff
        /// The connection is being opened. → idle, lent, or backingOff
        case connecting
        /// The connection is not used. → lent, closing
        case idle(since: ContinuousClock.Instant)
        /// A caller has the connection. → idle, lent, closing
        case lent
        /// The connection is being closed, and still counts. → removed
        case closing
    }

    private var limits: Limits
    private var slots: [SlotID: Slot] = [:]
    private var expiry: [SlotID: ContinuousClock.Instant] = [:]
    /// The idle slots, the most recently used last.
    ///
    /// The pool lends the last one first. The others grow old, and the pool closes them.
    private var idle: [SlotID] = []
    /// The waiters in the order of arrival.
    ///
    /// Those that have left may still be in it; `waiting` has the present ones.
    private var queue: Deque<WaiterID> = []
    private var waiting: Set<WaiterID> = []
    /// The waiters that give up when an attempt to connect fails.
    private var impatient: Set<WaiterID> = []
    private var lastSlot = 0
    private var failures = 0
    private var isClosed = false

    init(limits: Limits) { self.limits = limits }

    // MARK: Counts

    var waitingCount: Int { waiting.count }
    var openCount: Int { slots.count - count { if case .connecting = $0 { true } else { false } } - backingOffCount }
    var idleCount: Int { idle.count }
    var lentCount: Int { count { if case .lent = $0 { true } else { false } } }
    var connectingCount: Int { count { if case .connecting = $0 { true } else { false } } }
    var totalCount: Int { slots.count }
    private var backingOffCount: Int { count { if case .backingOff = $0 { true } else { false } } }

    private func count(_ matches: (Slot) -> Bool) -> Int { slots.values.reduce(0) { $0 + (matches($1) ? 1 : 0) } }

    // MARK: Waiters

    /// Lends an idle connection.
    ///
    /// No connection is idle while a caller waits.
    ///
    /// - Returns: The connection, and whether to check it; nil if the caller has to wait.
    mutating func borrowIdle(now: ContinuousClock.Instant) -> (slot: SlotID, needsCheck: Bool)? {
        // A connection that is too old is not lent. `tick` closes it.
        guard let index = idle.lastIndex(where: { !isExpired($0, now: now) }),
            case .idle(let since) = slots[idle[index]]
        else { return nil }
        let slot = idle.remove(at: index)
        slots[slot] = .lent
        return (slot, now - since >= limits.checkAfter)
    }

    /// A caller wants a connection, and waits if none is idle.
    ///
    /// - Parameters:
    ///   - waiter: The caller.
    ///   - givesUp: Whether the caller waits only while the database can be reached: while a connection is open, or no
    ///     attempt has failed.
    ///   - now: The present moment.
    /// - Returns: What the pool does next.
    mutating func borrow(_ waiter: WaiterID, givesUp: Bool = false, now: ContinuousClock.Instant) -> [Action] {
        guard !isClosed else { return [.refuse(waiter, .closed)] }
        if let (slot, needsCheck) = borrowIdle(now: now) { return [.grant(waiter, slot, needsCheck: needsCheck)] }
        guard waiting.count < limits.maximumWaiters else { return [.refuse(waiter, .tooManyWaiters)] }
        if givesUp {
            // The last attempt failed a moment ago, and the next one is at most `maximumBackOff` away.
            if isUnreachable, connectingCount == 0, backingOffCount > 0 { return [.refuse(waiter, .cannotConnect)] }
            impatient.insert(waiter)
        }
        waiting.insert(waiter)
        queue.append(waiter)
        // Connections that are idle now are too old. To close them makes room for a new one.
        return tick(now: now) + connectAsNeeded()
    }

    /// A waiter leaves: its time is over, or its task was cancelled.
    ///
    /// - Returns: Whether it still waited.
    mutating func leave(_ waiter: WaiterID) -> Bool {
        guard waiting.remove(waiter) != nil else { return false }
        impatient.remove(waiter)
        if queue.count > 64, queue.count > 2 * waiting.count { queue.removeAll { !waiting.contains($0) } }
        return true
    }

    // MARK: Connections

    /// The pause before an attempt is over.
    ///
    /// - Returns: Whether the connection is still wanted.
    mutating func connectDue(_ slot: SlotID) -> Bool {
        guard case .backingOff = slots[slot] else { return false }
        guard !isClosed, waiting.count > connectingCount else {
            slots[slot] = nil
            return false
        }
        slots[slot] = .connecting
        return true
    }

    /// A connection is open.
    mutating func connected(
        _ slot: SlotID,
        expires: ContinuousClock.Instant,
        now: ContinuousClock.Instant
    ) -> [Action] {
        guard case .connecting = slots[slot] else { return [] }
        failures = 0
        expiry[slot] = expires
        // After a failure only one attempt was under way. Now there may be one for each waiter.
        return offer(slot, now: now) + connectAsNeeded()
    }

    /// A connection could not be opened.
    ///
    /// - Parameters:
    ///   - slot: The connection's slot.
    ///   - isPermanent: Whether another attempt cannot succeed until a setting changes.
    ///   - jitter: A random factor for the next pause, around 1.
    /// - Returns: What the pool does next.
    mutating func connectFailed(_ slot: SlotID, isPermanent: Bool, jitter: Double) -> [Action] {
        guard case .connecting = slots[slot] else { return [] }
        slots[slot] = nil
        if isClosed { return finishIfDone() }
        if isPermanent { return refuseAll(.cannotConnect) }
        failures += 1
        let doubled = limits.firstBackOff * (1 << min(failures - 1, 16))
        let refusals = isUnreachable ? refuseImpatient() : []
        return refusals + connectAsNeeded(after: min(doubled, limits.maximumBackOff) * jitter)
    }

    /// A caller gives a connection back.
    ///
    /// - Parameters:
    ///   - slot: The connection's slot.
    ///   - isReusable: Whether the connection can be lent again. If not, it is closed.
    ///   - now: The present moment.
    /// - Returns: What the pool does next.
    mutating func released(_ slot: SlotID, isReusable: Bool, now: ContinuousClock.Instant) -> [Action] {
        guard case .lent = slots[slot] else { return [] }
        guard isReusable, !isClosed, !isExpired(slot, now: now) else {
            slots[slot] = .closing
            return [.close(slot)]
        }
        return offer(slot, now: now)
    }

    /// A connection is closed, by the pool or by the server, and its descriptor too.
    mutating func closed(_ slot: SlotID) -> [Action] {
        guard slots.removeValue(forKey: slot) != nil else { return [] }
        expiry[slot] = nil
        idle.removeAll { $0 == slot }
        if isClosed { return finishIfDone() }
        return connectAsNeeded()
    }

    /// Closes connections that are too old, or unused for too long.
    mutating func tick(now: ContinuousClock.Instant) -> [Action] {
        var actions: [Action] = []
        for slot in idle {
            guard case .idle(let since) = slots[slot] else { continue }
            let isUnused = limits.idleTimeout.map { now - since >= $0 } ?? false
            guard isUnused || isExpired(slot, now: now) else { continue }
            slots[slot] = .closing
            actions.append(.close(slot))
        }
        idle.removeAll { if case .idle = slots[$0] { false } else { true } }
        return actions
    }

    // MARK: The end

    /// Refuses the waiters and closes idle connections.
    ///
    /// A connection that is lent is closed when it comes back.
    mutating func shutDown() -> [Action] {
        guard !isClosed else { return [] }
        isClosed = true
        var actions = refuseAll(.closed)
        for slot in idle {
            slots[slot] = .closing
            actions.append(.close(slot))
        }
        idle = []
        slots = slots.filter { if case .backingOff = $0.value { false } else { true } }
        return actions + finishIfDone()
    }

    /// Closes the connections that are still lent, because the time for the end is over.
    mutating func closeTheRest() -> [Action] {
        let rest = slots.compactMap { slot, state -> SlotID? in
            if case .lent = state { slot } else { nil }
        }
        for slot in rest { slots[slot] = .closing }
        return rest.sorted().map { .close($0) }
    }

    // MARK: Helpers

    private func isExpired(_ slot: SlotID, now: ContinuousClock.Instant) -> Bool {
        expiry[slot].map { $0 <= now } ?? false
    }

    /// Gives an open connection to the caller that has waited longest, or makes it idle.
    private mutating func offer(_ slot: SlotID, now: ContinuousClock.Instant) -> [Action] {
        if isClosed {
            slots[slot] = .closing
            return [.close(slot)]
        }
        while let waiter = queue.popFirst() {
            guard waiting.remove(waiter) != nil else { continue }
            impatient.remove(waiter)
            slots[slot] = .lent
            return [.grant(waiter, slot, needsCheck: false)]
        }
        slots[slot] = .idle(since: now)
        idle.append(slot)
        return []
    }

    /// Opens connections for the waiters that have none under way.
    private mutating func connectAsNeeded(after pause: Duration = .zero) -> [Action] {
        var actions: [Action] = []
        // While connecting fails, one attempt at a time is enough.
        let limit = failures > 0 ? 1 : waiting.count
        while slots.count < limits.size, connectingCount + backingOffCount < min(limit, waiting.count) {
            lastSlot += 1
            slots[lastSlot] = .backingOff
            actions.append(.connect(lastSlot, after: pause))
        }
        return actions
    }

    /// True if the last attempt to connect failed, and no caller can give a connection back.
    ///
    /// While a connection is open, a failed attempt may only mean that PostgreSQL takes no further one.
    private var isUnreachable: Bool {
        failures > 0
            && !slots.values.contains {
                switch $0 {
                case .idle, .lent: true
                case .backingOff, .connecting, .closing: false
                }
            }
    }

    private mutating func refuseImpatient() -> [Action] {
        let refused = queue.filter { impatient.contains($0) && waiting.contains($0) }
        waiting.subtract(impatient)
        impatient = []
        return refused.map { .refuse($0, .cannotConnect) }
    }

    private mutating func refuseAll(_ refusal: Refusal) -> [Action] {
        let refused = queue.filter { waiting.contains($0) }
        queue = []
        waiting = []
        impatient = []
        return refused.map { .refuse($0, refusal) }
    }

    private func finishIfDone() -> [Action] { isClosed && slots.isEmpty ? [.finished] : [] }
}
