import Dispatch
import Glibc
import Polling

extension StreamReactor {
    /// Begins to write a frame to a stream that has none unfinished; what the socket has no room for stays here.
    ///
    /// - Returns: `gone` when the connection is broken; the caller closes the stream.
    func start(_ frame: Frame, at place: Int, now: Tick) -> SendOutcome {
        let range = range(of: frame, at: place)
        let taken = slots[place].isBlocked ? 0 : Self.write(frame, range, to: slots[place].descriptor)
        return settle(frame, range, taken, at: place, now: now)
    }

    /// Writes a frame to a stream that has room, or nothing of it.
    ///
    /// - Returns: `refused` when there was no room for any of it.
    func begin(_ frame: Frame, at place: Int, now: Tick) -> SendOutcome {
        let range = range(of: frame, at: place)
        let taken = Self.write(frame, range, to: slots[place].descriptor)
        return taken == 0 ? .refused : settle(frame, range, taken, at: place, now: now)
    }

    private func range(of frame: Frame, at place: Int) -> Range<Int> {
        slots[place].wire == .bare ? frame.payload : frame.bytes.indices
    }

    /// Notes how much of a frame the kernel has taken.
    private func settle(_ frame: Frame, _ range: Range<Int>, _ taken: Int?, at place: Int, now: Tick) -> SendOutcome {
        switch taken {
        case range.count:
            slots[place].lastWrite = now
            slots[place].framesSent += 1
            metrics.frameSent()
            return .sent
        case let count?:
            if count > 0 { slots[place].lastWrite = now }
            slots[place].unfinished = frame
            slots[place].offset = UInt32(range.lowerBound + count)
            block(place, now: now)
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
            guard let place = place(of: id), slots[place].phase == .open, !slots[place].isBlocked else { return nil }
            return (slots[place].descriptor, range(of: frame, at: place))
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
            if let job = jobs[index], let place = place(of: id) {
                outcome = settle(frame, job.range, taken[index] < 0 ? nil : taken[index], at: place, now: now)
                if outcome == .gone { close(place, .broken) }
            } else {
                outcome = send(frame, to: id, now: now)
            }
            if outcome != .sent { exceptions.append((index, outcome)) }
        }
        return exceptions
    }

    /// Goes on with a stream as far as its socket has room: the unfinished frame, the last one, the end.
    func advance(_ place: Int, now: Tick) {
        guard finishFrame(place, now: now) else { return }
        let phase = slots[place].phase
        if phase == .ending { return writeLast(place, now: now) }
        guard slots[place].isBlocked else { return }
        slots[place].isBlocked = false
        watch(place, for: .read)
        if slots[place].wire == .webSocket, !answerAfterWaiting(place, now: now) { return }
        schedule(place)
        delegate?.streamDrained(id(at: place))
    }

    /// Writes what is left of the unfinished frame.
    ///
    /// - Returns: Whether nothing of it is left.
    private func finishFrame(_ place: Int, now: Tick) -> Bool {
        guard let frame = slots[place].unfinished else { return true }
        let end = range(of: frame, at: place).upperBound
        let offset = Int(slots[place].offset)
        guard let count = Self.write(frame, offset..<end, to: slots[place].descriptor) else {
            closeAndTell(place, .broken)
            return false
        }
        if count > 0 {
            slots[place].lastWrite = now
            if slots[place].phase == .open { slots[place].waitingSince = now }
        }
        guard offset + count == end else {
            slots[place].offset = UInt32(offset + count)
            block(place, now: slots[place].waitingSince)
            return false
        }
        slots[place].unfinished = nil
        slots[place].offset = 0
        slots[place].framesSent += 1
        metrics.frameSent()
        return true
    }

    /// Drops the unfinished frame if nothing of it is out; of a WebSocket's several, those that have not begun.
    ///
    /// Of the first one the response's head stays, without which nothing could follow.
    func dropUnbegun(_ place: Int) {
        guard let frame = slots[place].unfinished else { return }
        if slots[place].wire == .webSocket {
            let end = frame.endOfBegun(at: Int(slots[place].offset))
            slots[place].unfinished = end == Int(slots[place].offset) ? nil : frame.prefix(upTo: end)
            if slots[place].unfinished == nil { slots[place].offset = 0 }
            return
        }
        let offset = Int(slots[place].offset)
        if frame.headLength > 0, offset <= frame.headLength {
            slots[place].unfinished = offset == frame.headLength ? nil : frame.head
        } else if frame.headLength == 0, offset == range(of: frame, at: place).lowerBound {
            slots[place].unfinished = nil
        }
        if slots[place].unfinished == nil { slots[place].offset = 0 }
    }

    private func writeLast(_ place: Int, now: Tick) {
        if let last = slots[place].last {
            switch start(last, at: place, now: now) {
            case .sent: slots[place].last = nil
            case .started, .refused:
                slots[place].last = nil
                return
            case .gone: return closeAndTell(place, .broken)
            }
        }
        slots[place].phase = .lingering
        slots[place].isBlocked = false
        slots[place].waitingSince = now
        watch(place, for: .read)
        if !awaitsClose(place) { shutdown(slots[place].descriptor, CInt(SHUT_WR)) }
        schedule(place)
    }

    func block(_ place: Int, now: Tick) {
        guard !slots[place].isBlocked else { return }
        slots[place].isBlocked = true
        slots[place].waitingSince = now
        metrics.blocked()
        watch(place, for: [.read, .write])
        schedule(place)
    }

    private func watch(_ place: Int, for interest: PollInterest) {
        // It fails only for a descriptor that is not watched, and then nothing comes of the stream any more but its
        // deadline.
        try? poller.setInterest(interest, of: slots[place].descriptor)
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
