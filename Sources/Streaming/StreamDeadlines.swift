import HeapModule

/// When each stream wants to be looked at next: for a heartbeat, the end of its token, or a client that does not move.
///
/// A stream has one entry that counts. Most deadlines move away long before they come, as each write puts off the
/// heartbeat, so an entry is not moved but looked at when it is due and put back where it belongs by then.
struct StreamDeadlines {
    private struct Entry: Comparable {
        let due: Int64
        let place: UInt32

        static func < (one: Entry, other: Entry) -> Bool { one.due < other.due }
    }

    private var heap = Heap<Entry>()

    /// Milliseconds since the reactor began; nil when nothing is waited for.
    var next: Int64? { heap.min?.due }

    mutating func insert(_ place: UInt32, due: Int64) {
        heap.insert(Entry(due: due, place: place))
    }

    /// Takes out one entry that is due, the earliest first.
    mutating func popDue(now: Int64) -> (place: UInt32, due: Int64)? {
        guard let first = heap.min, first.due <= now else { return nil }
        heap.removeMin()
        return (first.place, first.due)
    }
}
