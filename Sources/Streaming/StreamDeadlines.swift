import HeapModule

/// The moments at which the reactor looks at each stream: for a heartbeat, an expired token, or a stalled client.
///
/// One entry of each stream counts. Most deadlines move away before they come, because each write postpones the
/// heartbeat. Therefore no entry is moved: the reactor looks at it when it is due, and puts it back to the right
/// moment.
struct StreamDeadlines {
    private struct Entry: Comparable {
        let due: Tick
        let slot: UInt32

        static func < (one: Entry, other: Entry) -> Bool { one.due < other.due }
    }

    private var heap = Heap<Entry>()

    /// The earliest moment; nil if there is none.
    var next: Tick? { heap.min?.due }

    mutating func insert(_ slot: UInt32, due: Tick) {
        heap.insert(Entry(due: due, slot: slot))
    }

    /// Takes one entry that is due, the earliest first.
    mutating func popDue(now: Tick) -> (slot: UInt32, due: Tick)? {
        guard let first = heap.min, first.due <= now else { return nil }
        heap.removeMin()
        return (first.slot, first.due)
    }
}
