import Dispatch
import Glibc
import Polling

extension StreamReactor {
    /// Begins to write a frame to a stream that has none unfinished; what the socket has no room for stays here.
    ///
    /// - Returns: `gone` when the connection is broken; the caller closes the stream.
    func start(_ frame: Frame, at slot: Int, now: Tick) -> SendOutcome {
        let range = range(of: frame, at: slot)
        let taken = slots[slot].isBlocked ? 0 : Self.write(frame, range, to: slots[slot].descriptor)
        return settle(frame, range, taken, at: slot, now: now)
    }

    /// Writes a frame to a stream that has room, or nothing of it.
    ///
    /// - Returns: `refused` when there was no room for any of it.
    func begin(_ frame: Frame, at slot: Int, now: Tick) -> SendOutcome {
        let range = range(of: frame, at: slot)
        let taken = Self.write(frame, range, to: slots[slot].descriptor)
        return taken == 0 ? .refused : settle(frame, range, taken, at: slot, now: now)
    }

    private func range(of frame: Frame, at slot: Int) -> Range<Int> {
        slots[slot].wire == .bare ? frame.payload : frame.bytes.indices
    }

    /// Notes how much of a frame the kernel has taken.
    private func settle(_ frame: Frame, _ range: Range<Int>, _ taken: Int?, at slot: Int, now: Tick) -> SendOutcome {
        switch taken {
        case range.count:
            slots[slot].lastWrite = now
            slots[slot].framesSent += 1
            metrics.frameSent()
            return .sent
        case let count?:
            if count > 0 { slots[slot].lastWrite = now }
            slots[slot].unfinished = frame
            slots[slot].offset = UInt32(range.lowerBound + count)
            block(slot, now: now)
            return .started
        case nil: return .gone
        }
    }

    /// Sends a frame to many streams, on all cores.
    ///
    /// One write takes the kernel some microseconds, and one thread would take a tenth of a second for ten thousand. The
    /// descriptors stay this thread's: others borrow them for the one call, and nothing is opened, closed or noted before they
    /// are done.
    ///
    /// - Returns: What became of it where it was not sent whole, by the position in the list.
    func sendOnAllCores(_ frame: Frame, to ids: [StreamID], now: Tick) -> [(index: Int, outcome: SendOutcome)] {
        let jobs = ids.map { id -> (descriptor: CInt, range: Range<Int>)? in
            guard let slot = slot(of: id), slots[slot].phase == .open, !slots[slot].isBlocked else { return nil }
            return (slots[slot].descriptor, range(of: frame, at: slot))
        }
        let taken = unsafe [Int](unsafeUninitializedCapacity: jobs.count) { buffer, count in
            count = jobs.count
            // Each position is written by one thread, and read when all are done.
            nonisolated(unsafe) let taken = unsafe buffer
            let portions = (jobs.count + Self.portion - 1) / Self.portion
            DispatchQueue.concurrentPerform(iterations: portions) { portion in
                for index in portion * Self.portion..<min((portion + 1) * Self.portion, jobs.count) {
                    unsafe taken[index] =
                        jobs[index].map { Self.write(frame, $0.range, to: $0.descriptor) ?? -1 } ?? 0
                }
            }
        }
        var exceptions: [(index: Int, outcome: SendOutcome)] = []
        for (index, id) in ids.enumerated() {
            let outcome: SendOutcome
            if let job = jobs[index], let slot = slot(of: id) {
                outcome = settle(frame, job.range, taken[index] < 0 ? nil : taken[index], at: slot, now: now)
                if outcome == .gone { close(slot, .broken) }
            } else {
                outcome = send(frame, to: id, now: now)
            }
            if outcome != .sent { exceptions.append((index, outcome)) }
        }
        return exceptions
    }

    /// Goes on with a stream as far as its socket has room: the unfinished frame, the last one, the end.
    func advance(_ slot: Int, now: Tick) {
        guard finishFrame(slot, now: now) else { return }
        let phase = slots[slot].phase
        if phase == .ending { return writeLast(slot, now: now) }
        guard slots[slot].isBlocked else { return }
        slots[slot].isBlocked = false
        watch(slot, for: .read)
        if slots[slot].wire == .webSocket, !answerAfterWaiting(slot, now: now) { return }
        schedule(slot)
        delegate?.streamDrained(id(at: slot))
    }

    /// Writes what is left of the unfinished frame.
    ///
    /// - Returns: Whether nothing of it is left.
    private func finishFrame(_ slot: Int, now: Tick) -> Bool {
        guard let frame = slots[slot].unfinished else { return true }
        let end = range(of: frame, at: slot).upperBound
        let offset = Int(slots[slot].offset)
        guard let count = Self.write(frame, offset..<end, to: slots[slot].descriptor) else {
            closeAndTell(slot, .broken)
            return false
        }
        if count > 0 {
            slots[slot].lastWrite = now
            if slots[slot].phase == .open { slots[slot].waitingSince = now }
        }
        guard offset + count == end else {
            slots[slot].offset = UInt32(offset + count)
            block(slot, now: slots[slot].waitingSince)
            return false
        }
        slots[slot].unfinished = nil
        slots[slot].offset = 0
        slots[slot].framesSent += 1
        metrics.frameSent()
        return true
    }

    /// Drops the unfinished frame if nothing of it is out; of a WebSocket's several, those that have not begun.
    ///
    /// Of the first one the response's head stays, without which nothing could follow.
    func dropUnbegun(_ slot: Int) {
        guard let frame = slots[slot].unfinished else { return }
        if slots[slot].wire == .webSocket {
            let end = frame.endOfBegun(at: Int(slots[slot].offset))
            slots[slot].unfinished = end == Int(slots[slot].offset) ? nil : frame.prefix(upTo: end)
            if slots[slot].unfinished == nil { slots[slot].offset = 0 }
            return
        }
        let offset = Int(slots[slot].offset)
        if frame.headLength > 0, offset <= frame.headLength {
            slots[slot].unfinished = offset == frame.headLength ? nil : frame.head
        } else if frame.headLength == 0, offset == range(of: frame, at: slot).lowerBound {
            slots[slot].unfinished = nil
        }
        if slots[slot].unfinished == nil { slots[slot].offset = 0 }
    }

    private func writeLast(_ slot: Int, now: Tick) {
        if let last = slots[slot].last {
            switch start(last, at: slot, now: now) {
            case .sent: slots[slot].last = nil
            case .started, .refused:
                slots[slot].last = nil
                return
            case .gone: return closeAndTell(slot, .broken)
            }
        }
        slots[slot].phase = .lingering
        slots[slot].isBlocked = false
        slots[slot].waitingSince = now
        watch(slot, for: .read)
        if !awaitsClose(slot) { shutdown(slots[slot].descriptor, CInt(SHUT_WR)) }
        schedule(slot)
    }

    func block(_ slot: Int, now: Tick) {
        guard !slots[slot].isBlocked else { return }
        slots[slot].isBlocked = true
        slots[slot].waitingSince = now
        metrics.blocked()
        watch(slot, for: [.read, .write])
        schedule(slot)
    }

    private func watch(_ slot: Int, for interest: PollInterest) {
        // It fails only for a descriptor that is not watched, and then nothing comes of the stream any more but its
        // deadline.
        try? poller.setInterest(interest, of: slots[slot].descriptor)
    }

    /// Writes bytes of a frame to a socket.
    ///
    /// - Returns: How many the kernel took, 0 when it has no room; nil when the connection is broken.
    private static func write(_ frame: Frame, _ range: Range<Int>, to descriptor: CInt) -> Int? {
        unsafe frame.bytes.withUnsafeBytes { bytes in
            // A client that is gone is an error here, not a SIGPIPE for the process.
            let flags = CInt(MSG_NOSIGNAL | MSG_DONTWAIT)
            let count = unsafe Glibc.send(descriptor, bytes.baseAddress! + range.lowerBound, range.count, flags)
            if count >= 0 { return count }
            return errno == EAGAIN || errno == EINTR ? 0 : nil
        }
    }
}
