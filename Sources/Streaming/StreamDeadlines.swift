import HeapModule

/// When each stream wants to be looked at next: for a heartbeat, the end of its token, or a client that does not move.
///
/// A stream has one entry that counts. Most deadlines move away long before they come, as each write puts off the
/// heartbeat, so an entry is not moved but looked at when it is due and put back where it belongs by then.
struct StreamDeadlines {
    private struct Entry: Comparable {
        let due: Tick
        let slot: UInt32

        static func < (one: Entry, other: Entry) -> Bool { one.due < other.due }
    }

    private var heap = Heap<Entry>()

    /// Nil when nothing is waited for.
    var next: Tick? { heap.min?.due }

    mutating func insert(_ slot: UInt32, due: Tick) {
        heap.insert(Entry(due: due, slot: slot))
    }

    /// Takes out one entry that is due, the earliest first.
    mutating func popDue(now: Tick) -> (slot: UInt32, due: Tick)? {
        guard let first = heap.min, first.due <= now else { return nil }
        heap.removeMin()
        return (first.slot, first.due)
    }
}
