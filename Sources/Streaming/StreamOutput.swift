/// The sending side of one stream: its socket, the unfinished frame, and the frame to end with.
///
/// At most one frame is unfinished. There is no queue for a slow client: the hub reads again what the client missed.
struct StreamOutput {
    /// How a write ended.
    enum Written {
        /// The kernel has the whole frame.
        case whole
        /// The socket ran out of room with this write, and the rest of the frame stays here.
        case blocked
        /// The socket had no room before, and the rest of the frame stays here.
        case stillBlocked
        /// The connection is broken.
        case broken
    }

    // The order of the properties keeps the size of a `StreamSlot` at 64 bytes.

    /// The unfinished frame, of which the bytes from `offset` on remain.
    private var unfinished: Frame?
    /// The frame to end with, after the unfinished one.
    private var last: Frame?
    let descriptor: CInt
    private var offset: UInt32 = 0
    private(set) var framesSent: UInt32 = 0
    /// The moment of the last write.
    ///
    /// The silence before a heartbeat counts from here.
    private(set) var lastWrite: Tick
    /// The moment since which the socket has had no room, the rest has not moved, or the client lingers.
    private(set) var waitingSince = Tick.never
    let wire: StreamWire
    /// Whether the socket has no room.
    private(set) var isBlocked = false

    /// Makes the sending side of a stream that has written nothing.
    init(descriptor: CInt, wire: StreamWire, now: Tick) {
        self.descriptor = descriptor
        self.wire = wire
        lastWrite = now
    }

    var hasUnfinished: Bool { unfinished != nil }

    // MARK: Writing

    /// Begins to write a frame.
    ///
    /// Nothing may be unfinished.
    mutating func write(_ frame: Frame, now: Tick) -> Written {
        let range = range(of: frame)
        let taken = isBlocked ? 0 : StreamSocket.write(frame, range, to: descriptor)
        return take(frame, range, taken, now: now)
    }

    /// Begins to write a frame, unless the socket has no room for any of it.
    ///
    /// Nothing may be unfinished.
    ///
    /// - Returns: Nil if there was no room. Nothing of the frame is then kept, and the stream is blocked.
    mutating func writeIfRoom(_ frame: Frame, now: Tick) -> Written? {
        let range = range(of: frame)
        let taken = StreamSocket.write(frame, range, to: descriptor)
        guard taken == 0 else { return take(frame, range, taken, now: now) }
        _ = block(now: now)
        return nil
    }

    /// Writes the rest of the unfinished frame, as far as the socket has room.
    ///
    /// - Parameters:
    ///   - now: The present moment.
    ///   - restartsWait: Whether the time of a stalled client counts from the last byte that the kernel took. While a
    ///     stream ends, it counts from the beginning of the end.
    /// - Returns: Nil if no frame was unfinished.
    mutating func resume(now: Tick, restartsWait: Bool) -> Written? {
        guard let frame = unfinished else { return nil }
        let rest = Int(offset)..<range(of: frame).upperBound
        guard let taken = StreamSocket.write(frame, rest, to: descriptor) else { return .broken }
        if taken > 0 {
            lastWrite = now
            if restartsWait { waitingSince = now }
        }
        guard taken == rest.count else {
            offset += UInt32(taken)
            return block(now: waitingSince)
        }
        unfinished = nil
        offset = 0
        framesSent += 1
        return .whole
    }

    /// The write of a frame by another thread; nil if the socket has no room.
    ///
    /// The caller reports the end of the write to ``take(_:_:now:)``.
    func fanOutJob(for frame: Frame) -> FanOut.Job? {
        isBlocked ? nil : FanOut.Job(descriptor: descriptor, range: range(of: frame))
    }

    /// Records how much of a frame another thread wrote.
    ///
    /// - Parameters:
    ///   - frame: The frame of the job.
    ///   - taken: How many bytes the kernel took; nil if the connection is broken.
    ///   - now: The present moment.
    /// - Returns: How the write ended.
    mutating func take(_ frame: Frame, _ taken: Int?, now: Tick) -> Written {
        take(frame, range(of: frame), taken, now: now)
    }

    private mutating func take(_ frame: Frame, _ range: Range<Int>, _ taken: Int?, now: Tick) -> Written {
        guard let taken else { return .broken }
        if taken == range.count {
            lastWrite = now
            framesSent += 1
            return .whole
        }
        if taken > 0 { lastWrite = now }
        unfinished = frame
        offset = UInt32(range.lowerBound + taken)
        return block(now: now)
    }

    private mutating func block(now: Tick) -> Written {
        guard !isBlocked else { return .stillBlocked }
        isBlocked = true
        waitingSince = now
        return .blocked
    }

    private func range(of frame: Frame) -> Range<Int> { wire == .bare ? frame.payload : frame.bytes.indices }

    // MARK: Phases

    /// The socket has room, and nothing is unfinished.
    mutating func unblock() { isBlocked = false }

    /// Begins the end of the stream.
    ///
    /// From here on, the client has one period of time for all the bytes that are left, even if some of them move.
    mutating func end(with last: Frame?, now: Tick) {
        self.last = last
        waitingSince = now
    }

    /// Takes the frame to end with; nil if it is written or there is none.
    mutating func takeLast() -> Frame? { last.take() }

    /// Everything is written: the client has a moment to read it.
    mutating func linger(now: Tick) {
        isBlocked = false
        waitingSince = now
    }

    /// Drops the part of the unfinished frame that has not begun.
    ///
    /// The response's head stays, because nothing can follow without it. If a piece has several WebSocket
    /// frames, those that have begun stay.
    mutating func dropUnbegun() {
        guard let frame = unfinished else { return }
        let written = Int(offset)
        if wire.isWebSocket {
            let end = frame.endOfBegun(at: written)
            unfinished = end == written ? nil : frame.prefix(upTo: end)
        } else if frame.headLength > 0, written <= frame.headLength {
            unfinished = written == frame.headLength ? nil : frame.head
        } else if frame.headLength == 0, written == range(of: frame).lowerBound {
            unfinished = nil
        }
        if unfinished == nil { offset = 0 }
    }
}
