/// The reactor's streams, by slot and by descriptor.
///
/// A slot is used again with another generation, and the kernel uses the number of a descriptor again. A ``StreamID``
/// therefore finds its own stream only, and a descriptor finds the stream that owns it now.
struct StreamTable {
    private var slots: [StreamSlot] = []
    /// The slot of each descriptor's stream, by the descriptor's number.
    private var slotOfDescriptor: [UInt32] = []
    /// How many slots have a stream.
    private(set) var count = 0

    /// The slots, free ones included.
    var indices: Range<Int> { slots.indices }

    /// A slot, changed in place.
    subscript(slot: Int) -> StreamSlot {
        // Not `_read`: without optimisation, Swift 6.3 releases the yielded value once more after the coroutine has freed it.
        get { slots[slot] }
        _modify { yield &slots[slot] }
    }

    /// Adds a stream to a free slot, which becomes part of the table if it is not yet.
    mutating func insert(_ stream: StreamSlot, at slot: Int) {
        if slot >= slots.count {
            if slot >= slots.capacity { slots.reserveCapacity(slot + slot / 8 + 64) }
            slots.append(contentsOf: repeatElement(StreamSlot(), count: slot + 1 - slots.count))
        }
        precondition(slots[slot].phase == .free, "a stream has this slot already")
        slots[slot] = stream
        count += 1
        let descriptor = Int(stream.output.descriptor)
        if descriptor >= slotOfDescriptor.count {
            let missing = max(64, descriptor + 1 - slotOfDescriptor.count)
            slotOfDescriptor.append(contentsOf: repeatElement(.max, count: missing))
        }
        slotOfDescriptor[descriptor] = UInt32(slot)
    }

    /// Frees the slot of a stream.
    ///
    /// - Returns: The stream that had it.
    mutating func remove(at slot: Int) -> StreamSlot {
        let stream = slots[slot]
        precondition(stream.phase != .free, "no stream has this slot")
        slots[slot] = StreamSlot(freeAfter: stream.generation)
        count -= 1
        return stream
    }

    /// The slot of a stream; nil if the stream has ended.
    func slot(of id: StreamID) -> Int? {
        let slot = Int(id.slot)
        guard slot < slots.count, slots[slot].generation == id.generation, slots[slot].phase != .free
        else { return nil }
        return slot
    }

    /// The slot of the stream that owns a descriptor; nil if none does.
    func slot(ofDescriptor descriptor: CInt) -> Int? {
        let slot = Int(slotOfDescriptor[Int(descriptor)])
        return slots[slot].output.descriptor == descriptor ? slot : nil
    }

    /// The identifier of the stream in a slot.
    func id(at slot: Int) -> StreamID { StreamID(slot: UInt32(slot), generation: slots[slot].generation) }
}
