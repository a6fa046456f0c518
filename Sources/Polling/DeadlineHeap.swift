import HeapModule

/// Identifies a deadline of a `Poller`, so that it can be cancelled.
public struct DeadlineID: Hashable, Sendable {
    let number: UInt64
}

/// Payloads, ordered by the moment at which they are due.
///
/// To remove a payload leaves a tombstone in the heap. The heap is rebuilt when there are more tombstones than
/// payloads. Most deadlines are removed long before they are due, and both ways stay O(log n) amortised.
struct DeadlineHeap<Payload> {
    private struct Entry: Comparable {
        let deadline: ContinuousClock.Instant
        let number: UInt64

        static func < (one: Entry, other: Entry) -> Bool {
            // Entries of the same moment are due in the order in which they were added.
            (one.deadline, one.number) < (other.deadline, other.number)
        }
    }

    private var heap = Heap<Entry>()
    private var payloads: [UInt64: (deadline: ContinuousClock.Instant, payload: Payload)] = [:]
    private var lastNumber: UInt64 = 0

    /// The number of payloads.
    var count: Int { payloads.count }

    /// The number of entries in the heap, tombstones included.
    var capacityInUse: Int { heap.count }

    /// Adds a payload.
    mutating func insert(_ payload: Payload, at deadline: ContinuousClock.Instant) -> DeadlineID {
        lastNumber += 1
        heap.insert(Entry(deadline: deadline, number: lastNumber))
        payloads[lastNumber] = (deadline, payload)
        return DeadlineID(number: lastNumber)
    }

    /// Removes a payload.
    ///
    /// - Returns: The payload; nil if it was due or removed before.
    @discardableResult
    mutating func remove(_ id: DeadlineID) -> Payload? {
        guard let removed = payloads.removeValue(forKey: id.number) else { return nil }
        if heap.count > 64, heap.count > 2 * payloads.count {
            heap = Heap(payloads.map { Entry(deadline: $0.value.deadline, number: $0.key) })
        }
        return removed.payload
    }

    /// The earliest moment; nil if there is no payload.
    mutating func next() -> ContinuousClock.Instant? {
        while let first = heap.min {
            if payloads[first.number] != nil { return first.deadline }
            heap.removeMin()
        }
        return nil
    }

    /// Removes one payload that is due, the earliest first.
    mutating func popDue(now: ContinuousClock.Instant) -> Payload? {
        guard let deadline = next(), deadline <= now else { return nil }
        let entry = heap.removeMin()
        return payloads.removeValue(forKey: entry.number)?.payload
    }
}
