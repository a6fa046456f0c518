import HeapModule

/// A moment that was put into a `DeadlineHeap` or a `Poller`, to take it out again.
public struct DeadlineID: Hashable, Sendable {
    let number: UInt64
}

/// Payloads ordered by the moment at which they are due.
///
/// Taking one out leaves a tombstone in the heap, and the heap is rebuilt when tombstones outnumber what lives: most
/// deadlines are taken out long before they are due, and both ways stay O(log n) amortised.
struct DeadlineHeap<Payload> {
    private struct Entry: Comparable {
        let deadline: ContinuousClock.Instant
        let number: UInt64

        static func < (one: Entry, other: Entry) -> Bool {
            // Equal moments fire in the order in which they were added.
            (one.deadline, one.number) < (other.deadline, other.number)
        }
    }

    private var heap = Heap<Entry>()
    private var payloads: [UInt64: (deadline: ContinuousClock.Instant, payload: Payload)] = [:]
    private var lastNumber: UInt64 = 0

    /// How many payloads wait.
    var count: Int { payloads.count }

    /// How many entries the heap holds, with tombstones.
    var capacityInUse: Int { heap.count }

    /// Adds a payload that is due at a moment.
    mutating func insert(_ payload: Payload, at deadline: ContinuousClock.Instant) -> DeadlineID {
        lastNumber += 1
        heap.insert(Entry(deadline: deadline, number: lastNumber))
        payloads[lastNumber] = (deadline, payload)
        return DeadlineID(number: lastNumber)
    }

    /// Takes a payload out; nil when it was due or taken out before.
    @discardableResult
    mutating func remove(_ id: DeadlineID) -> Payload? {
        guard let removed = payloads.removeValue(forKey: id.number) else { return nil }
        if heap.count > 64, heap.count > 2 * payloads.count {
            heap = Heap(payloads.map { Entry(deadline: $0.value.deadline, number: $0.key) })
        }
        return removed.payload
    }

    /// The earliest moment.
    mutating func next() -> ContinuousClock.Instant? {
        while let first = heap.min {
            if payloads[first.number] != nil { return first.deadline }
            heap.removeMin()
        }
        return nil
    }

    /// Takes out one payload that is due, the earliest first.
    mutating func popDue(now: ContinuousClock.Instant) -> Payload? {
        guard let deadline = next(), deadline <= now else { return nil }
        let entry = heap.removeMin()
        return payloads.removeValue(forKey: entry.number)?.payload
    }
}
