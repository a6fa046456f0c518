/// Hands out the numbers of slots: a free one again, or else the next.
struct SlotList {
    private var free: [Int32] = []
    /// How many slots were ever handed out at the same time.
    private(set) var count = 0

    var freeCount: Int { free.count }

    mutating func take() -> Int {
        if let slot = free.popLast() { return Int(slot) }
        count += 1
        return count - 1
    }

    mutating func giveBack(_ slot: Int) { free.append(Int32(slot)) }
}
