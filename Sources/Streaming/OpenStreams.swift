import DurationUnits
import Glibc
import Logging
import Polling

/// The open streams, and everything that happens on their sockets.
///
/// It knows no delegate and no timer. Its methods return an ``Event`` for the reactor instead.
struct OpenStreams {
    /// Something that the reactor tells its delegate.
    enum Event {
        /// A heartbeat, a ping or a pong found no room in the socket.
        case filled(StreamID)
        /// The socket has room again, and the stream takes frames.
        case drained(StreamID)
        /// The access token expired.
        case expired(StreamID)
        /// The stream reached its maximum lifetime.
        case outlived(StreamID)
        /// The client of a WebSocket leaves, or has to leave.
        ///
        /// The stream is then ended with the frame.
        case leaving(StreamID, with: Frame)
        /// The stream has ended, and its slot is free.
        case closed(StreamID)
    }

    private let poller: Poller
    private let writer: StreamWriter
    private let metrics: StreamMetrics
    private let logger: Logger
    /// In ticks.
    private let heartbeatInterval: Int
    private let heartbeat = Frame(ServerSentEvent.heartbeat)
    /// In ticks.
    private let pingInterval: Int
    private let ping = Frame(webSocketFrames: WebSocketFrame.ping)

    private var table = StreamTable()
    /// The conversations of the streams that are WebSockets, by slot.
    private(set) var conversations: [UInt32: WebSocketConversation] = [:]
    private var deadlines = StreamDeadlines()
    /// How many times a stream opened or ended.
    private(set) var changes = 0

    init(poller: Poller, heartbeatInterval: Duration, pingInterval: Duration, metrics: StreamMetrics, logger: Logger) {
        self.poller = poller
        writer = StreamWriter(poller: poller, metrics: metrics)
        self.heartbeatInterval = max(1, Tick.count(heartbeatInterval))
        self.pingInterval = max(1, Tick.count(pingInterval))
        self.metrics = metrics
        self.logger = logger
    }

    // MARK: - The table

    var count: Int { table.count }

    /// The streams whose phase meets a condition, and how their frames travel.
    func ids(where condition: (StreamSlot.Phase) -> Bool) -> [(id: StreamID, wire: StreamWire)] {
        table.indices.filter { condition(table[$0].phase) }.map { (table.id(at: $0), table[$0].output.wire) }
    }

    func wire(of id: StreamID) -> StreamWire? {
        table.slot(of: id).map { table[$0].output.wire }
    }

    /// Adds a stream and writes its first frame.
    ///
    /// - Parameters:
    ///   - id: The stream.
    ///   - stream: What its slot holds.
    ///   - firstFrame: The head and the first payload.
    ///   - handler: Is called when the socket is ready.
    ///   - now: The present moment.
    /// - Returns: What the reactor tells its delegate.
    mutating func adopt(
        _ id: StreamID, _ stream: StreamSlot, firstFrame: Frame, handler: any PollHandler, now: Tick
    ) -> Event? {
        let slot = Int(id.slot)
        table.insert(stream, at: slot)
        changes += 1
        let wire = stream.output.wire
        if wire.isWebSocket {
            conversations[id.slot] = WebSocketConversation(now: now, nextPing: now + pingInterval)
        }
        metrics.opened(wire)
        do {
            try poller.watch(stream.output.descriptor, for: .read, handler: handler)
        } catch {
            logger.error("cannot watch a stream's socket", metadata: ["error": "\(error)"])
            return close(slot, .broken, now: now)
        }
        if write(firstFrame, at: slot, now: now) == .gone { return close(slot, .broken, now: now) }
        schedule(slot)
        return nil
    }

    /// Closes a stream as it is; nil if it has ended.
    mutating func close(_ id: StreamID, _ reason: StreamEnd, now: Tick) -> Event? {
        guard let slot = table.slot(of: id) else { return nil }
        return close(slot, reason, now: now)
    }

    /// Frees a slot that has a stream, and closes its descriptor.
    @discardableResult
    private mutating func close(_ slot: Int, _ reason: StreamEnd, now: Tick) -> Event {
        let id = table.id(at: slot)
        let stream = table.remove(at: slot)
        changes += 1
        poller.unwatch(stream.output.descriptor)
        Glibc.close(stream.output.descriptor)
        let wire = stream.output.wire
        if wire.isWebSocket { conversations[UInt32(slot)] = nil }
        metrics.ended(reason, wire)
        logger.info(
            "stream ended",
            metadata: [
                "reason": "\(reason.rawValue)", "seconds": "\((now - stream.openedAt).whole(.seconds))",
                "frames": "\(stream.output.framesSent)",
            ])
        return .closed(id)
    }

    // MARK: - Sending

    /// Sends a frame to one stream.
    ///
    /// A stream whose connection is broken is closed.
    mutating func send(_ frame: Frame, to id: StreamID, now: Tick) -> SendOutcome {
        guard let slot = table.slot(of: id), table[slot].phase == .open else { return .gone }
        if table[slot].output.hasUnfinished { return .refused }
        let outcome = write(frame, at: slot, now: now)
        if outcome == .gone { close(slot, .broken, now: now) }
        return outcome
    }

    /// Sends a frame to many streams.
    ///
    /// - Returns: The streams that did not take the whole frame, each by its index in the list.
    mutating func send(_ frame: Frame, to ids: [StreamID], now: Tick) -> [(index: Int, outcome: SendOutcome)] {
        if ids.count >= 2 * FanOut.portion { return sendOnAllCores(frame, to: ids, now: now) }
        var exceptions: [(index: Int, outcome: SendOutcome)] = []
        for (index, id) in ids.enumerated() {
            let outcome = send(frame, to: id, now: now)
            if outcome != .sent { exceptions.append((index, outcome)) }
        }
        return exceptions
    }

    private mutating func sendOnAllCores(
        _ frame: Frame, to ids: [StreamID], now: Tick
    ) -> [(index: Int, outcome: SendOutcome)] {
        let jobs = ids.map { id -> FanOut.Job? in
            guard let slot = table.slot(of: id), table[slot].phase == .open else { return nil }
            return table[slot].output.fanOutJob(for: frame)
        }
        let taken = FanOut.write(frame, jobs)
        var exceptions: [(index: Int, outcome: SendOutcome)] = []
        for (index, id) in ids.enumerated() {
            let outcome: SendOutcome
            if jobs[index] != nil, let slot = table.slot(of: id) {
                let count = taken[index] < 0 ? nil : taken[index]
                outcome = writer.record(frame, count, to: &table[slot], now: now)
                if outcome == .started { schedule(slot) }
                if outcome == .gone { close(slot, .broken, now: now) }
            } else {
                outcome = send(frame, to: id, now: now)
            }
            if outcome != .sent { exceptions.append((index, outcome)) }
        }
        return exceptions
    }

    /// Ends a stream with a frame.
    ///
    /// - Parameters:
    ///   - id: The stream.
    ///   - frame: The last frame.
    ///   - beginsNoOther: Whether to drop a frame that waits for room and of which nothing is written.
    ///   - now: The present moment.
    /// - Returns: Whether the stream is still there, and what the reactor tells its delegate.
    mutating func end(
        _ id: StreamID, with frame: Frame, beginsNoOther: Bool, now: Tick
    ) -> (isThere: Bool, event: Event?) {
        guard let slot = table.slot(of: id) else { return (false, nil) }
        guard table[slot].phase == .open else { return (true, nil) }
        if beginsNoOther { table[slot].output.dropUnbegun() }
        table[slot].end(with: frame, now: now)
        return (true, advanceOrWait(slot, now: now))
    }

    /// Ends a stream with a frame that goes out now or not at all.
    mutating func finish(_ id: StreamID, with frame: Frame, now: Tick) -> (outcome: SendOutcome, event: Event?) {
        guard let slot = table.slot(of: id), table[slot].phase == .open else { return (.gone, nil) }
        guard !table[slot].output.isBlocked else { return (.refused, nil) }
        switch writer.writeIfRoom(frame, to: &table[slot], now: now) {
        case .sent, .started:
            table[slot].end(with: nil, now: now)
            return (.sent, advanceOrWait(slot, now: now))
        case .refused:
            schedule(slot)
            return (.refused, nil)
        case .gone:
            close(slot, .broken, now: now)
            return (.gone, nil)
        }
    }

    private mutating func write(_ frame: Frame, at slot: Int, now: Tick) -> SendOutcome {
        let outcome = writer.write(frame, to: &table[slot], now: now)
        if outcome == .started { schedule(slot) }
        return outcome
    }

    /// Goes on with a stream that ends, or waits until its socket has room.
    private mutating func advanceOrWait(_ slot: Int, now: Tick) -> Event? {
        if !table[slot].output.isBlocked { return advance(slot, now: now) }
        schedule(slot)
        return nil
    }

    private mutating func advance(_ slot: Int, now: Tick) -> Event? {
        var noConversation: WebSocketConversation?
        let progress =
            table[slot].output.wire.isWebSocket
            ? writer.advance(&table[slot], &conversations[UInt32(slot)], now: now)
            : writer.advance(&table[slot], &noConversation, now: now)
        if progress == .broken { return close(slot, .broken, now: now) }
        schedule(slot)
        return progress == .drained ? .drained(table.id(at: slot)) : nil
    }

    // MARK: - Readiness

    /// The stream that owns a descriptor; nil if none does.
    func id(ofDescriptor descriptor: CInt) -> StreamID? {
        table.slot(ofDescriptor: descriptor).map { table.id(at: $0) }
    }

    /// The socket of a stream has room: goes on if something waits for that.
    mutating func becomeWritable(_ id: StreamID, now: Tick) -> Event? {
        guard let slot = table.slot(of: id), table[slot].output.isBlocked else { return nil }
        return advance(slot, now: now)
    }

    /// Reads what a client sent, and answers the client of a WebSocket.
    mutating func read(_ id: StreamID, now: Tick) -> Event? {
        guard let slot = table.slot(of: id) else { return nil }
        let (descriptor, phase) = (table[slot].output.descriptor, table[slot].phase)
        guard table[slot].output.wire.isWebSocket else {
            guard let reason = StreamSocket.read(descriptor, { _ in true }) else { return nil }
            return close(slot, phase == .lingering ? .ended : reason, now: now)
        }
        var answer: WebSocketConversation.Answer?
        let reason = StreamSocket.read(descriptor) { bytes in
            let received = conversations[id.slot]?.receive(bytes, at: now, isOpen: phase == .open)
            // After the server's last frame nothing counts but the client's Close frame.
            guard let received, phase != .lingering || received.isClose else { return true }
            answer = received
            return !received.isLast
        }
        if let reason { return close(slot, phase == .lingering ? reasonOfEnd(slot) : reason, now: now) }
        guard let answer else { return nil }
        return reply(to: answer, at: slot, now: now)
    }

    private mutating func reply(to answer: WebSocketConversation.Answer, at slot: Int, now: Tick) -> Event? {
        let (phase, isBlocked) = (table[slot].phase, table[slot].output.isBlocked)
        switch conversations[UInt32(slot)]?.reply(to: answer, in: phase, isBlocked: isBlocked) {
        case nil, .nothing: return nil
        case .sendPong:
            guard let pong = conversations[UInt32(slot)]?.takePong() else { return nil }
            return writeUnasked(pong, at: slot, now: now)
        case .end(let frame): return .leaving(table.id(at: slot), with: frame)
        case .shutDownSending:
            StreamSocket.shutDownSending(table[slot].output.descriptor)
            return nil
        case .cut(let reason): return close(slot, reason, now: now)
        }
    }

    /// Writes a frame that the delegate did not ask for.
    private mutating func writeUnasked(_ frame: Frame, at slot: Int, now: Tick) -> Event? {
        switch write(frame, at: slot, now: now) {
        case .sent: nil
        case .started, .refused: .filled(table.id(at: slot))
        case .gone: close(slot, .broken, now: now)
        }
    }

    /// The reason for the end of a stream that ended in order.
    private func reasonOfEnd(_ slot: Int) -> StreamEnd { conversations[UInt32(slot)]?.end ?? .ended }

    // MARK: - Deadlines

    /// The earliest deadline of all streams; nil if there is none.
    var nextDeadline: Tick? { deadlines.next }

    /// Takes one stream whose deadline has come, and does what is due.
    ///
    /// The reactor then calls ``reschedule(_:)``.
    ///
    /// - Returns: The stream, and what the reactor tells its delegate; nil if no deadline has come.
    mutating func popDue(now: Tick) -> (id: StreamID, event: Event?)? {
        while let (slot, due) = deadlines.popDue(now: now) {
            let slot = Int(slot)
            guard table[slot].scheduledFor == due else { continue }
            table[slot].scheduledFor = .never
            return (table.id(at: slot), doWhatIsDue(slot, now: now))
        }
        return nil
    }

    /// Plans the next look at a stream that is still there.
    mutating func reschedule(_ id: StreamID) {
        if let slot = table.slot(of: id) { schedule(slot) }
    }

    private mutating func doWhatIsDue(_ slot: Int, now: Tick) -> Event? {
        let signOfLife = signOfLifeDue(slot)
        switch table[slot].takeDue(now: now, signOfLife: signOfLife) {
        case nil: return nil
        case .expired: return .expired(table.id(at: slot))
        case .outlived: return .outlived(table.id(at: slot))
        case .stalled: return close(slot, .stalled, now: now)
        case .lingered: return close(slot, reasonOfEnd(slot), now: now)
        case .signOfLife:
            let isWebSocket = table[slot].output.wire.isWebSocket
            if isWebSocket, conversations[UInt32(slot)]?.ping(now: now, interval: pingInterval) != true {
                return close(slot, .stalled, now: now)
            }
            metrics.heartbeat()
            return writeUnasked(isWebSocket ? ping : heartbeat, at: slot, now: now)
        }
    }

    /// The moment of the next heartbeat or ping.
    ///
    /// The last write was somewhere in its tick, and a heartbeat does not come early: hence one more tick.
    private func signOfLifeDue(_ slot: Int) -> Tick {
        table[slot].output.wire.isWebSocket
            ? conversations[UInt32(slot)]?.nextPing ?? .never
            : table[slot].output.lastWrite + heartbeatInterval + 1
    }

    /// Plans the next look at a stream, unless an earlier one is planned.
    private mutating func schedule(_ slot: Int) {
        let due = table[slot].nextDue(signOfLife: signOfLifeDue(slot))
        guard due < table[slot].scheduledFor else { return }
        table[slot].scheduledFor = due
        deadlines.insert(UInt32(slot), due: due)
    }
}
