/// The descriptors that a poller watches, by number.
///
/// The kernel uses the number of a closed descriptor again. Within one batch of events, an old event could therefore
/// reach a new owner. Each entry has a generation against that, which travels through the kernel in the event's token.
struct DescriptorTable {
    private struct Entry {
        var handler: (any PollHandler)?
        var generation: UInt32 = 0
        var interest: PollInterest = []
    }

    /// The token of the poller's own eventfd.
    ///
    /// No descriptor has this number.
    static let wakeUpToken = UInt64.max

    private var entries: [Entry] = []

    /// Adds a descriptor that is not in the table.
    ///
    /// - Returns: The token for the kernel.
    mutating func insert(_ descriptor: CInt, interest: PollInterest, handler: any PollHandler) -> UInt64 {
        let index = Int(descriptor)
        if index >= entries.count {
            entries.append(contentsOf: repeatElement(Entry(), count: max(64, index + 1 - entries.count)))
        }
        precondition(entries[index].handler == nil, "descriptor is watched already")
        entries[index].handler = handler
        entries[index].generation &+= 1
        entries[index].interest = interest
        return token(descriptor)
    }

    /// Records a new interest.
    ///
    /// - Returns: The token for the kernel; nil if nothing changes or the descriptor is not in the table.
    mutating func setInterest(_ interest: PollInterest, of descriptor: CInt) -> UInt64? {
        let index = Int(descriptor)
        guard entries.indices.contains(index), entries[index].handler != nil, entries[index].interest != interest
        else { return nil }
        entries[index].interest = interest
        return token(descriptor)
    }

    /// Removes a descriptor.
    ///
    /// - Returns: Whether it was in the table.
    @discardableResult
    mutating func remove(_ descriptor: CInt) -> Bool {
        let index = Int(descriptor)
        guard entries.indices.contains(index), entries[index].handler != nil else { return false }
        entries[index].handler = nil
        return true
    }

    /// The handler for an event; nil if its descriptor was removed, or removed and added again, since.
    func lookUp(_ token: UInt64) -> (descriptor: CInt, handler: any PollHandler)? {
        let index = Int(token & 0xFFFF_FFFF)
        guard entries.indices.contains(index), entries[index].generation == UInt32(token >> 32),
            let handler = entries[index].handler
        else { return nil }
        return (CInt(index), handler)
    }

    private func token(_ descriptor: CInt) -> UInt64 {
        UInt64(entries[Int(descriptor)].generation) << 32 | UInt64(UInt32(descriptor))
    }
}
