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
