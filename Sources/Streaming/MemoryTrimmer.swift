import CMemory

/// Decides when the process gives free memory back to the system.
///
/// Opening many streams takes memory for their requests, and the allocator keeps it when it is free. The process gives
/// it back when such a burst is over.
struct MemoryTrimmer {
    /// How many streams must open or end before a burst begins.
    private static let burst = 500
    /// The time between two looks at a burst.
    static let pause = Duration.seconds(2)

    private var changesAtTrim = 0
    /// The count at the last look; nil if no burst goes on.
    private var changesAtLastLook: Int?

    /// Prepares the allocator, once in a process.
    static let prepare: Void = cmemory_keep_large_blocks_apart()

    /// Gives free memory back to the system, which takes milliseconds.
    static func trim() { cmemory_trim() }

    /// Decides whether a burst begins.
    ///
    /// - Parameter changes: How many streams have opened or ended.
    /// - Returns: Whether it begins. The caller then calls ``isBurstOver(changes:)`` after a ``pause``.
    mutating func beginsBurst(changes: Int) -> Bool {
        guard changes - changesAtTrim >= Self.burst, changesAtLastLook == nil else { return false }
        changesAtLastLook = changes
        return true
    }

    /// Decides whether the burst is over, because nothing changed since the last look.
    ///
    /// - Parameter changes: How many streams have opened or ended.
    /// - Returns: Whether it is over. If not, the caller calls this again after another ``pause``.
    mutating func isBurstOver(changes: Int) -> Bool {
        guard changes == changesAtLastLook else {
            changesAtLastLook = changes
            return false
        }
        changesAtTrim = changes
        changesAtLastLook = nil
        return true
    }
}
