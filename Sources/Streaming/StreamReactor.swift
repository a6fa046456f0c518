public import CoreMetrics
import DurationUnits
import Glibc
public import Logging
public import Polling

/// Whoever decides what streams are told.
///
/// Called on the reactor's thread, and never from within a call to the reactor.
public protocol StreamReactorDelegate: AnyObject, Sendable {
    /// There is no room at present, as a heartbeat or the answer to a client's ping has found.
    func streamFilled(_ id: StreamID)
    /// There is room again: the stream takes frames.
    func streamDrained(_ id: StreamID)
    /// The stream's token has expired; the answer is ``StreamReactor/end(_:with:)``.
    func streamExpired(_ id: StreamID)
    /// The stream has lived as long as one may; the answer is ``StreamReactor/end(_:with:)``.
    func streamOutlived(_ id: StreamID)
    /// The client ends the stream, or is made to: it takes no frames any more, and its slot is free later.
    func streamLeaving(_ id: StreamID)
    /// The stream is over and its slot free.
    func streamClosed(_ id: StreamID)
}

/// Owns the sockets of all open streams and writes to them, on one thread.
///
/// It takes over sockets whose response is due, and from then on nobody else touches them. A stream costs a slot in a
/// table, a deadline, and an entry with the poller: no task, no buffer. What clients send is read and dropped, but for the
/// clients of WebSockets, who are answered.
///
/// Each descriptor has one owner, the slot that its stream has in the table. A ``StreamID`` names the slot and the
/// generation of its stream, so that a frame can reach no other stream that got the slot or the descriptor's number
/// later.
public actor StreamReactor: PollHandler {
    /// How long a client may leave everything unacknowledged, or an unfinished frame unmoved, before it is closed.
    static let stallTimeout = Tick.count(.seconds(60))
    /// How long a client is given to read the end.
    static let lingering = Tick.count(.seconds(1))
    /// How often the client of a WebSocket is asked whether it is there, and how long it may take to say so.
    public static let pingInterval = Duration.seconds(30)

    /// So many writes of a fan-out are one portion of work for a thread.
    static let portion = 250

    public nonisolated let poller: Poller
    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe poller.asUnownedSerialExecutor() }

    /// In ticks.
    let heartbeatInterval: Int
    let heartbeat = Frame(ServerSentEvent.heartbeat)
    /// In ticks.
    let pingInterval: Int
    let pingFrame = Frame(webSocketFrames: WebSocketFrame.ping)
    let metrics: StreamMetrics
    private let logger: Logger
    private let beginning: ContinuousClock.Instant
    weak var delegate: (any StreamReactorDelegate)?

    var slots: [StreamSlot] = []
    /// What there is beside their slots of those streams that are WebSockets, by the slot.
    var conversations: [UInt32: WebSocketConversation] = [:]
    /// The slot of each descriptor's stream, by the descriptor's number.
    private var slotOfDescriptor: [UInt32] = []
    var deadlines = StreamDeadlines()
    var timer: (id: DeadlineID, due: Tick)?
    /// Streams that have a descriptor.
    private(set) var streamCount = 0
    /// Set once the server stops: the frame to end every stream with.
    private var shutdownFrame: (@Sendable (StreamWire) -> Frame)?
    private var emptyWaiter: CheckedContinuation<Void, Never>?
    /// Streams that came or went since memory was last given back, and whether that is going to be looked at.
    var changesSinceTrim = 0
    var isTrimDue = false

    /// Makes a reactor; its thread begins at once.
    ///
    /// - Parameters:
    ///   - heartbeatInterval: How long a stream may be silent.
    ///   - pingInterval: The time between two pings of a WebSocket.
    ///   - clock: The clock by which all of it is counted.
    /// - Throws: `PollerError` when the process is out of descriptors or threads.
    public init(
        heartbeatInterval: Duration, pingInterval: Duration = StreamReactor.pingInterval,
        clock: any MonotonicClock = ContinuousClock(), metrics: any MetricsFactory, logger: Logger
    ) throws {
        Self.largeBlocksAreApart
        poller = try Poller(name: "sse-reactor", clock: clock)
        beginning = clock.now
        self.heartbeatInterval = max(1, Tick.count(heartbeatInterval))
        self.pingInterval = max(1, Tick.count(pingInterval))
        self.metrics = StreamMetrics(factory: metrics)
        self.logger = logger
    }

    deinit { poller.stop() }

    /// Says whom to tell; to be called before the first stream is adopted.
    public func setDelegate(_ delegate: any StreamReactorDelegate) { self.delegate = delegate }

    // MARK: - Streams

    /// Takes over a socket whose response is due, and writes its head and first payload.
    ///
    /// - Parameters:
    ///   - id: A name that no open stream has.
    ///   - wire: How frames are written.
    ///   - opening: The head and the first payload.
    ///   - expiresAt, livesUntil: When the delegate is asked to end it.
    public func adopt(
        _ id: StreamID, _ socket: StreamSocket, as wire: StreamWire, opening: Frame,
        expiresAt: ContinuousClock.Instant, livesUntil: ContinuousClock.Instant
    ) {
        let now = now()
        let slot = Int(id.slot)
        if slot >= slots.count {
            if slot >= slots.capacity { slots.reserveCapacity(slot + slot / 8 + 64) }
            slots.append(contentsOf: repeatElement(StreamSlot(), count: slot + 1 - slots.count))
        }
        precondition(slots[slot].phase == .free, "a stream has this slot already")
        let descriptor = socket.take()
        StreamSocket.prepare(descriptor)
        var entry = StreamSlot()
        entry.descriptor = descriptor
        entry.generation = id.generation
        entry.phase = .open
        entry.wire = wire
        entry.openedAt = now
        entry.lastWrite = now
        entry.expiresAt = Tick(notBefore: expiresAt - beginning)
        entry.livesUntil = Tick(notBefore: livesUntil - beginning)
        slots[slot] = entry
        if wire == .webSocket {
            conversations[id.slot] = WebSocketConversation(now: now, nextPing: now + pingInterval)
        }
        streamCount += 1
        countChange()
        metrics.opened(wire)
        setSlot(id.slot, of: descriptor)
        do {
            try poller.watch(descriptor, for: .read, handler: self)
        } catch {
            logger.error("cannot watch a stream's socket", metadata: ["error": "\(error)"])
            return closeAndTell(slot, .broken)
        }
        if start(opening, at: slot, now: now) == .gone { return closeAndTell(slot, .broken) }
        schedule(slot)
        if let shutdownFrame { end(id, with: shutdownFrame(wire)) }
    }

    /// Sends a frame to many streams.
    ///
    /// - Returns: What became of it where it was not sent whole, by the position in the list.
    public func send(_ frame: Frame, to ids: [StreamID]) -> [(index: Int, outcome: SendOutcome)] {
        let now = now()
        if ids.count >= 2 * Self.portion { return sendOnAllCores(frame, to: ids, now: now) }
        var exceptions: [(index: Int, outcome: SendOutcome)] = []
        for (index, id) in ids.enumerated() {
            let outcome = send(frame, to: id, now: now)
            if outcome != .sent { exceptions.append((index, outcome)) }
        }
        return exceptions
    }

    func send(_ frame: Frame, to id: StreamID, now: Tick) -> SendOutcome {
        guard let slot = slot(of: id), slots[slot].phase == .open else { return .gone }
        if slots[slot].unfinished != nil { return .refused }
        let outcome = start(frame, at: slot, now: now)
        if outcome == .gone { close(slot, .broken) }
        return outcome
    }

    /// Ends a stream: what is unfinished is finished, then this frame goes out, and nothing after it.
    ///
    /// - Parameters:
    ///   - frame: One after which nothing follows.
    ///   - beginsNoOther: A frame that waits for room, and of which nothing is out yet, is not begun any more.
    /// - Returns: False when the stream is over; otherwise the delegate is told when it is.
    @discardableResult
    public func end(_ id: StreamID, with frame: Frame, beginsNoOther: Bool = false) -> Bool {
        guard let slot = slot(of: id) else { return false }
        guard slots[slot].phase == .open else { return true }
        let now = now()
        if beginsNoOther { dropUnbegun(slot) }
        slots[slot].phase = .ending
        slots[slot].last = frame
        // From here on the time is counted for all that is left, however it moves.
        slots[slot].waitingSince = now
        if !slots[slot].isBlocked { advance(slot, now: now) } else { schedule(slot) }
        return true
    }

    /// Ends a stream with a frame that goes out now, or not at all.
    ///
    /// - Returns: `refused` when there is no room and nothing of it was taken: the stream goes on, and the delegate is told
    ///   when there is room. `gone` when the stream is over.
    public func finish(_ id: StreamID, with frame: Frame) -> SendOutcome {
        guard let slot = slot(of: id), slots[slot].phase == .open else { return .gone }
        let now = now()
        guard !slots[slot].isBlocked else { return .refused }
        switch begin(frame, at: slot, now: now) {
        case .sent, .started:
            slots[slot].phase = .ending
            if !slots[slot].isBlocked { advance(slot, now: now) } else { schedule(slot) }
            return .sent
        case .refused:
            block(slot, now: now)
            return .refused
        case .gone:
            close(slot, .broken)
            return .gone
        }
    }

    /// Ends every stream, those that come later too, and waits until none is left.
    ///
    /// - Parameters:
    ///   - limit: After this long, streams whose clients do not read are closed as they are.
    ///   - frame: Makes the frame to end a stream with.
    public func shutDown(within limit: Duration, with frame: @escaping @Sendable (StreamWire) -> Frame) async {
        shutdownFrame = frame
        for slot in slots.indices where slots[slot].phase == .open {
            end(id(at: slot), with: frame(slots[slot].wire))
        }
        guard streamCount > 0 else { return }
        let deadline = poller.schedule(at: poller.clock.now + limit) { [weak self] in
            self?.assumeIsolated { $0.closeTheRest() }
        }
        await withCheckedContinuation { emptyWaiter = $0 }
        poller.cancelDeadline(deadline)
    }

    private func closeTheRest() {
        for slot in slots.indices where slots[slot].phase != .free { closeAndTell(slot, .shutdown) }
    }

    // MARK: - Places

    /// The index of a stream's slot; nil when it is over.
    func slot(of id: StreamID) -> Int? {
        let slot = Int(id.slot)
        guard slot < slots.count, slots[slot].generation == id.generation, slots[slot].phase != .free
        else { return nil }
        return slot
    }

    func id(at slot: Int) -> StreamID { StreamID(slot: UInt32(slot), generation: slots[slot].generation) }

    private func setSlot(_ slot: UInt32, of descriptor: CInt) {
        let index = Int(descriptor)
        if index >= slotOfDescriptor.count {
            slotOfDescriptor.append(contentsOf: repeatElement(.max, count: max(64, index + 1 - slotOfDescriptor.count)))
        }
        slotOfDescriptor[index] = slot
    }

    /// Frees a slot, and the descriptor with it.
    func close(_ slot: Int, _ reason: StreamEnd) {
        let entry = slots[slot]
        guard entry.phase != .free else { return }
        poller.unwatch(entry.descriptor)
        Glibc.close(entry.descriptor)
        var free = StreamSlot()
        free.generation = entry.generation
        slots[slot] = free
        if entry.wire == .webSocket { conversations[UInt32(slot)] = nil }
        streamCount -= 1
        countChange()
        metrics.ended(reason, entry.wire)
        logger.info(
            "stream ended",
            metadata: [
                "reason": "\(reason.rawValue)", "seconds": "\((now() - entry.openedAt).whole(.seconds))",
                "frames": "\(entry.framesSent)",
            ])
        if streamCount == 0 {
            emptyWaiter?.resume()
            emptyWaiter = nil
        }
    }

    func closeAndTell(_ slot: Int, _ reason: StreamEnd) {
        let id = id(at: slot)
        close(slot, reason)
        delegate?.streamClosed(id)
    }

    // MARK: - Readiness

    public nonisolated func pollerReady(_ descriptor: CInt, _ readiness: PollReadiness) {
        assumeIsolated { $0.ready(descriptor, readiness) }
    }

    private func ready(_ descriptor: CInt, _ readiness: PollReadiness) {
        let slot = Int(slotOfDescriptor[Int(descriptor)])
        guard slots[slot].descriptor == descriptor else { return }
        if slots[slot].wire == .webSocket {
            if readiness.contains(.readable), !readClient(at: slot) { return }
        } else if readiness.contains(.readable), let reason = drop(descriptor) {
            return closeAndTell(slot, slots[slot].phase == .lingering ? .ended : reason)
        }
        if readiness.contains(.writable), slots[slot].isBlocked { advance(slot, now: now()) }
    }

    /// Reads and drops what a client sends.
    ///
    /// - Returns: Why the stream is over, if it is.
    private func drop(_ descriptor: CInt) -> StreamEnd? {
        unsafe withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { scratch in
            // A client that sends without end gets its turn like the others.
            for _ in 0..<16 {
                let count = unsafe recv(descriptor, scratch.baseAddress, scratch.count, CInt(MSG_DONTWAIT))
                if count == 0 { return .clientClosed }
                if count < 0 { return errno == EAGAIN || errno == EINTR ? nil : .broken }
            }
            return nil
        }
    }

    // MARK: - Time

    func now() -> Tick { Tick(poller.clock.now - beginning) }

    func moment(_ tick: Tick) -> ContinuousClock.Instant { beginning + tick.sinceBeginning }
}
