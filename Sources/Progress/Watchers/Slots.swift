/// One value for each slot of the watcher table, or of its index of sessions.
///
/// Each sub-machine keeps its state of a watcher or a session in a column of its own. The state is therefore private, and
/// needs no dictionary.
struct Column<Value> {
    private var values: [Value] = []
    private let initial: Value

    /// - Parameter initial: The value of a slot that was never set.
    init(initial: Value) { self.initial = initial }

    /// The number of slots that the column has memory for.
    var count: Int { values.count }

    subscript(slot: Int) -> Value {
        get { slot < values.count ? values[slot] : initial }
        set {
            if slot >= values.count { grow(to: slot + 1) }
            values[slot] = newValue
        }
    }

    private mutating func grow(to count: Int) {
        // Grow by an eighth, not twofold: the columns are most of the memory of a stream.
        if count > values.capacity { values.reserveCapacity(max(count, values.count * 9 / 8 + 64)) }
        values.append(contentsOf: repeatElement(initial, count: count - values.count))
    }
}

/// Hands out slots: a free one, or else a new one.
struct SlotList {
    private var free: [Int32] = []
    /// The largest number of slots that were in use at one time.
    private(set) var count = 0

    var freeCount: Int { free.count }

    mutating func take() -> Int {
        if let slot = free.popLast() { return Int(slot) }
        count += 1
        return count - 1
    }

    mutating func release(_ slot: Int) { free.append(Int32(slot)) }
}
