import DequeModule
public import Domain

/// An access that the audit log records: who does what, to whose data, from where.
public struct AuditedAccess: Sendable, Hashable {
    /// The action.
    public var action: AuditAction
    /// The caller and the caller's sign-in.
    public var principal: Principal
    /// The session that the action concerns; nil for no session or several.
    public var session: SessionID?
    /// The patient whom the caller asked for; nil for no patient or several.
    public var patient: UserID?
    /// Where the request came from; nil if that is unknown.
    public var network: ClientNetwork?

    /// An access.
    public init(
        _ action: AuditAction, by principal: Principal, session: SessionID? = nil, patient: UserID? = nil,
        from network: ClientNetwork? = nil
    ) {
        self.action = action
        self.principal = principal
        self.session = session
        self.patient = patient
        self.network = network
    }
}

/// Repeats of one access with one outcome, to be recorded together.
public struct RepeatedAccess: Sendable, Equatable {
    /// The access.
    public var access: AuditedAccess
    /// False for refusals.
    public var isAllowed: Bool
    /// The number of repeats.
    public var count: Int64
    /// When the first of them was made.
    public var first: ContinuousClock.Instant
    /// When the last of them was made.
    public var last: ContinuousClock.Instant
}

/// Decides which accesses the audit log records at once, and counts the others.
///
/// The first access of a kind has a record of its own. For ten minutes after it, repeats are counted, and then recorded
/// together. A kind is an access with its outcome. Only actions with ``AuditAction/isMerged`` and refusals are merged.
///
/// A repeat counts only against a first access whose record is written. Whatever happens to this value, the log therefore has
/// the first access of each kind.
struct AccessMerging {
    /// The limits of the memory.
    struct Limits {
        /// How long repeats are counted after the first access of a kind.
        var window = Duration.seconds(600)
        /// The largest number of kinds in memory.
        ///
        /// Accesses of further kinds are not merged.
        var kinds = 100_000
    }

    /// A kind of access in 16 bytes.
    ///
    /// Otherwise each open stream would need a hundred bytes. Both halves are SipHash values under a key of this process. Two of 100,000
    /// kinds are equal with a probability below 10⁻²⁸.
    private struct Kind: Hashable {
        let high: Int
        let low: Int

        init(_ access: AuditedAccess, isAllowed: Bool) {
            func hash(_ half: UInt8) -> Int {
                var hasher = Hasher()
                hasher.combine(half)
                hasher.combine(access)
                hasher.combine(isAllowed)
                return hasher.finalize()
            }
            high = hash(0)
            low = hash(1)
        }
    }

    /// How many kinds in a row of ``order`` have their windows begin at one moment.
    ///
    /// Accesses are planned in batches, and those of a batch have one moment: few groups hold many kinds.
    private struct Group {
        var moment: ContinuousClock.Instant
        var count: Int
    }

    private let limits: Limits
    /// The kinds whose windows are open.
    private var firsts: Set<Kind> = []
    /// The same kinds in the order of their windows' ends.
    private var order: Deque<Kind> = []
    /// The moments at which these windows began, in ascending order.
    private var groups: Deque<Group> = []
    /// The repeats of kinds whose windows are open.
    private var open: [Kind: RepeatedAccess] = [:]
    /// Repeats that are to be recorded: their windows have ended, or a try has failed.
    private var ended: [RepeatedAccess] = []
    /// True once every access is recorded at once.
    private(set) var isClosed = false

    init(limits: Limits = Limits()) { self.limits = limits }

    /// The number of kinds in memory.
    var kinds: Int { firsts.count }

    /// Whether an access with this outcome needs a record of its own, at this moment.
    ///
    /// If not, the caller counts it with ``repeated(_:isAllowed:at:)`` when the outcome is known.
    mutating func isFirst(_ access: AuditedAccess, isAllowed: Bool, at now: ContinuousClock.Instant) -> Bool {
        guard !isClosed, access.action.isMerged || !isAllowed else { return true }
        endWindows(at: now)
        return !firsts.contains(Kind(access, isAllowed: isAllowed))
    }

    /// The record of an access is written.
    ///
    /// - Parameters:
    ///   - access: The access.
    ///   - isAllowed: Its outcome.
    ///   - moment: A moment before the record was written. The window begins here.
    mutating func recorded(_ access: AuditedAccess, isAllowed: Bool, at moment: ContinuousClock.Instant) {
        guard !isClosed, access.action.isMerged || !isAllowed else { return }
        endWindows(at: moment)
        let kind = Kind(access, isAllowed: isAllowed)
        // Two requests that came together both have a record. The window of the earlier one is open.
        guard firsts.count < limits.kinds, firsts.insert(kind).inserted else { return }
        order.append(kind)
        // Batches can settle in another order than they were planned in. The windows of a later moment then end too early:
        // one more access of these kinds gets a record of its own.
        var group = Group(moment: moment, count: 1)
        while let last = groups.last, last.moment >= moment {
            groups.removeLast()
            group.count += last.count
        }
        groups.append(group)
    }

    /// An access that needed no record of its own was made.
    mutating func repeated(_ access: AuditedAccess, isAllowed: Bool, at now: ContinuousClock.Instant) {
        let kind = Kind(access, isAllowed: isAllowed)
        var repeats =
            open[kind] ?? RepeatedAccess(access: access, isAllowed: isAllowed, count: 0, first: now, last: now)
        repeats.count += 1
        repeats.last = max(repeats.last, now)
        if !firsts.contains(kind) {
            // The window has ended since the access began.
            ended.append(repeats)
        } else {
            open[kind] = repeats
        }
    }

    /// Takes the repeats of all windows that end at a moment or before it.
    mutating func takeEnded(at moment: ContinuousClock.Instant) -> [RepeatedAccess] {
        endWindows(at: moment)
        defer { ended = [] }
        return ended
    }

    /// Gives back repeats whose record could not be written.
    mutating func giveBack(_ repeats: [RepeatedAccess]) { ended.insert(contentsOf: repeats, at: 0) }

    /// Ends all windows.
    ///
    /// From now on, every access is recorded at once.
    mutating func close() {
        isClosed = true
        ended += open.values
        forget()
    }

    private mutating func endWindows(at now: ContinuousClock.Instant) {
        while let group = groups.first, now >= group.moment + limits.window {
            groups.removeFirst()
            for kind in order.prefix(group.count) {
                firsts.remove(kind)
                if let repeats = open.removeValue(forKey: kind) { ended.append(repeats) }
            }
            order.removeFirst(group.count)
        }
        // Free the memory after a burst.
        if firsts.isEmpty, firsts.capacity > 1000 { forget() }
    }

    private mutating func forget() { (firsts, order, groups, open) = ([], [], [], [:]) }
}
