import Domain

/// The watched sessions: each has a slot and the head of its list of watchers.
struct SessionIndex {
    private struct Row {
        var session: SessionID
        /// The slot of the first watcher, which the table links to the others; −1 if the row is free.
        var first: Int32
        /// The number of its watchers that have begun.
        var begun: Int32 = 0
    }

    /// The memory of one session in this index, in bytes, without its entry in the dictionary.
    static let bytesPerSession = MemoryLayout<Row>.stride

    private var slotOfSession: [SessionID: Int32] = [:]
    private var rows: [Row] = []
    private var slots = SlotList()

    var isEmpty: Bool { slotOfSession.isEmpty }
    var sessions: some Sequence<SessionID> { slotOfSession.keys }

    func slot(of session: SessionID) -> Int? { slotOfSession[session].map(Int.init) }
    func session(at slot: Int) -> SessionID? { rows[slot].first >= 0 ? rows[slot].session : nil }
    func first(at slot: Int) -> Int { Int(rows[slot].first) }
    func begunCount(at slot: Int) -> Int { Int(rows[slot].begun) }

    /// Puts a watcher at the head of the list of its session.
    ///
    /// - Parameters:
    ///   - watcher: The slot of the watcher.
    ///   - session: The session, which gets a slot with its first watcher.
    /// - Returns: The slot of the session, and the watcher that was at the head before; −1 if there was none.
    mutating func link(_ watcher: Int, to session: SessionID) -> (slot: Int, next: Int) {
        if let slot = slot(of: session) {
            defer { rows[slot].first = Int32(watcher) }
            return (slot, first(at: slot))
        }
        let slot = slots.take()
        let row = Row(session: session, first: Int32(watcher))
        if slot < rows.count {
            rows[slot] = row
        } else {
            // Grow by an eighth, not twofold.
            if rows.count == rows.capacity { rows.reserveCapacity(rows.count * 9 / 8 + 64) }
            rows.append(row)
        }
        slotOfSession[session] = Int32(slot)
        return (slot, -1)
    }

    /// Puts another watcher at the head of a list; −1 frees the slot of the session.
    mutating func setFirst(_ watcher: Int, at slot: Int) {
        rows[slot].first = Int32(watcher)
        guard watcher < 0 else { return }
        slotOfSession[rows[slot].session] = nil
        slots.release(slot)
    }

    mutating func countBegun(_ change: Int, at slot: Int) { rows[slot].begun += Int32(change) }
}
