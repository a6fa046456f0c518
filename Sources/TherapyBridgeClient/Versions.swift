/// Drops duplicate and late states by their versions.
///
/// A server that restored an older backup begins a connection with lower versions than the client has. Those are the
/// truth, and the client takes them.
struct Versions {
    private let followsAll: Bool
    private var known: [String: Int] = [:]
    /// On a stream of all sessions: the newest of the low versions of this connection, until its `ready` settles them.
    private var low: [String: SessionProgress] = [:]
    private var isFirst = true
    private var isOpening = true

    init(followsAll: Bool) { self.followsAll = followsAll }

    /// A connection has begun.
    mutating func opened() {
        isFirst = true
        isOpening = true
        low = [:]
    }

    /// Returns true if the state is new.
    mutating func accept(_ state: SessionProgress) -> Bool {
        let last = known[state.sessionID] ?? 0
        let wasFirst = isFirst
        isFirst = false
        if followsAll, isOpening, state.version < last {
            if (low[state.sessionID]?.version ?? 0) <= state.version { low[state.sessionID] = state }
            return false
        }
        low[state.sessionID] = nil
        guard state.version > last || (state.version < last && wasFirst && !followsAll) else { return false }
        known[state.sessionID] = state.version
        return true
    }

    /// The start of a stream of all sessions is complete.
    ///
    /// - Returns: The states of the sessions whose versions a restore has lowered.
    mutating func ready() -> [SessionProgress] {
        let restored = low.values.sorted { $0.sessionID < $1.sessionID }
        for state in restored { known[state.sessionID] = state.version }
        isOpening = false
        low = [:]
        return restored
    }

    /// Forgets a session.
    mutating func remove(_ id: String) {
        known[id] = nil
        low[id] = nil
    }
}
