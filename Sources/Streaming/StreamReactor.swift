public import CoreMetrics
public import Logging
public import Polling

/// Owns the sockets of all open streams and writes to them, on one thread.
///
/// The reactor takes over a socket when its response is due. From then on nothing else uses it. A stream costs an entry
/// in a table, a deadline, and an entry with the poller: no task and no buffer. The reactor reads and drops what
/// clients send, and answers the clients of WebSockets.
///
/// Each descriptor has one owner, the slot of its stream. A ``StreamID`` names the slot and the generation of its
/// stream. A frame therefore cannot reach another stream that got the same slot or descriptor later.
public actor StreamReactor: PollHandler {
    /// The time between two pings of a WebSocket, and how long its client may take to answer.
    public static let pingInterval = Duration.seconds(30)

    /// The poller on whose thread the reactor runs.
    public nonisolated let poller: Poller

    /// The poller, so that the reactor runs on its thread.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe poller.asUnownedSerialExecutor() }

    private let beginning: ContinuousClock.Instant
    private weak var delegate: (any StreamReactorDelegate)?
    private(set) var streams: OpenStreams
    private var timer: (id: DeadlineID, due: Tick)?
    private var trimmer = MemoryTrimmer()
    /// Makes the frame to end a stream with, once the server stops.
    private var shutdownFrame: (@Sendable (StreamWire) -> Frame)?
    private var emptyWaiter: CheckedContinuation<Void, Never>?

    /// Makes a reactor and starts its thread.
    ///
    /// - Parameters:
    ///   - heartbeatInterval: How long a stream may be silent.
    ///   - pingInterval: The time between two pings of a WebSocket.
    ///   - clock: The clock of the reactor's thread.
    ///   - metrics: Makes the counters.
    ///   - logger: Takes the log.
    /// - Throws: `PollerError` if the process has no descriptor or thread left.
    public init(
        heartbeatInterval: Duration, pingInterval: Duration = StreamReactor.pingInterval,
        clock: any MonotonicClock = ContinuousClock(), metrics: any MetricsFactory, logger: Logger
    ) throws {
        MemoryTrimmer.prepare
        poller = try Poller(name: "sse-reactor", clock: clock)
        beginning = clock.now
        streams = OpenStreams(
            poller: poller, heartbeatInterval: heartbeatInterval, pingInterval: pingInterval,
            metrics: StreamMetrics(factory: metrics), logger: logger)
    }

    deinit { poller.stop() }

    /// Sets the delegate, before the first stream is adopted.
    ///
    /// - Parameter delegate: Decides what is sent. The reactor refers to it weakly.
    public func setDelegate(_ delegate: any StreamReactorDelegate) { self.delegate = delegate }

    /// How many streams have a descriptor.
    public var streamCount: Int { streams.count }

    /// How many of the streams are WebSockets.
    public var webSocketCount: Int { streams.conversations.count }

    /// How the frames of a stream travel.
    ///
    /// - Parameter id: The stream.
    /// - Returns: Nil if the stream has ended.
    public func wire(of id: StreamID) -> StreamWire? { streams.wire(of: id) }

    // MARK: - Streams

    /// Takes over a socket whose response is due, and writes the head and the first payload.
    ///
    /// - Parameters:
    ///   - id: An identifier that no open stream has.
    ///   - socket: The socket.
    ///   - wire: How frames travel.
    ///   - firstFrame: The head and the first payload.
    ///   - expiresAt: When the reactor tells the delegate that the token expired.
    ///   - livesUntil: When the reactor tells the delegate that the stream reached its maximum lifetime.
    public func adopt(
        _ id: StreamID, _ socket: StreamSocket, as wire: StreamWire, firstFrame: Frame,
        expiresAt: ContinuousClock.Instant, livesUntil: ContinuousClock.Instant
    ) {
        defer { followUp() }
        let now = now()
        let descriptor = socket.take()
        StreamSocket.prepare(descriptor)
        let stream = StreamSlot(
            descriptor, wire, generation: id.generation, now: now, expiresAt: Tick(notBefore: expiresAt - beginning),
            livesUntil: Tick(notBefore: livesUntil - beginning))
        if let event = streams.adopt(id, stream, firstFrame: firstFrame, handler: self, now: now) {
            tell(event)
        } else if let shutdownFrame {
            end(id, with: shutdownFrame(wire))
        }
    }

    /// Sends a frame to many streams.
    ///
    /// - Parameters:
    ///   - frame: The frame.
    ///   - ids: The streams.
    /// - Returns: The streams that did not take the whole frame, each by its index in the list.
    public func send(_ frame: Frame, to ids: [StreamID]) -> [(index: Int, outcome: SendOutcome)] {
        defer { followUp() }
        return streams.send(frame, to: ids, now: now())
    }

    /// Ends a stream: finishes the unfinished frame, then sends this one and closes the connection.
    ///
    /// - Parameters:
    ///   - id: The stream.
    ///   - frame: The last frame.
    ///   - beginsNoOther: Whether to drop a frame that waits for room and of which nothing is written.
    /// - Returns: False if the stream has ended. Otherwise the delegate gets `streamClosed(_:)` when it has.
    @discardableResult
    public func end(_ id: StreamID, with frame: Frame, beginsNoOther: Bool = false) -> Bool {
        defer { followUp() }
        let (isThere, event) = streams.end(id, with: frame, beginsNoOther: beginsNoOther, now: now())
        tell(event)
        return isThere
    }

    /// Ends a stream with a frame that goes out now or not at all.
    ///
    /// - Parameters:
    ///   - id: The stream.
    ///   - frame: The last frame.
    /// - Returns: `sent` if the stream ends. `refused` if there was no room: the stream goes on, and the delegate is
    ///   told when there is room. `gone` if the stream has ended.
    public func finish(_ id: StreamID, with frame: Frame) -> SendOutcome {
        defer { followUp() }
        let (outcome, event) = streams.finish(id, with: frame, now: now())
        tell(event)
        return outcome
    }

    /// Ends every stream, and every stream that comes later, and waits until none is left.
    ///
    /// - Parameters:
    ///   - limit: After this time the reactor closes the streams whose clients do not read.
    ///   - frame: Makes the last frame of a stream.
    public func shutDown(within limit: Duration, with frame: @escaping @Sendable (StreamWire) -> Frame) async {
        shutdownFrame = frame
        for (id, wire) in streams.ids(where: { $0 == .open }) { end(id, with: frame(wire)) }
        guard streams.count > 0 else { return }
        let deadline = poller.schedule(at: poller.clock.now + limit) { [weak self] in
            self?.assumeIsolated { $0.closeTheRest() }
        }
        await withCheckedContinuation { emptyWaiter = $0 }
        poller.cancelDeadline(deadline)
    }

    private func closeTheRest() {
        for (id, _) in streams.ids(where: { $0 != .free }) { tell(streams.close(id, .shutdown, now: now())) }
        followUp()
    }

    /// Tells the delegate about an event.
    private func tell(_ event: OpenStreams.Event?) {
        switch event {
        case nil: break
        case .filled(let id): delegate?.streamFilled(id)
        case .drained(let id): delegate?.streamDrained(id)
        case .expired(let id): delegate?.streamExpired(id)
        case .outlived(let id): delegate?.streamOutlived(id)
        case .closed(let id): delegate?.streamClosed(id)
        case .leaving(let id, let frame):
            // Tell the delegate first: it must not use the slot again before the slot is free.
            delegate?.streamLeaving(id)
            end(id, with: frame, beginsNoOther: true)
        }
    }

    // MARK: - The poller

    /// Handles the readiness of a stream's socket, on the poller's thread.
    ///
    /// - Parameters:
    ///   - descriptor: The socket.
    ///   - readiness: What it is ready for.
    public nonisolated func pollerReady(_ descriptor: CInt, _ readiness: PollReadiness) {
        assumeIsolated { $0.ready(descriptor, readiness) }
    }

    private func ready(_ descriptor: CInt, _ readiness: PollReadiness) {
        guard let id = streams.id(ofDescriptor: descriptor) else { return }
        let now = now()
        if readiness.contains(.readable) { tell(streams.read(id, now: now)) }
        if readiness.contains(.writable) { tell(streams.becomeWritable(id, now: now)) }
        followUp()
    }

    private func now() -> Tick { Tick(poller.clock.now - beginning) }

    /// Does what follows from any change: sets the timer, looks after memory, and resumes ``shutDown(within:with:)``.
    private func followUp() {
        setTimer()
        if trimmer.beginsBurst(changes: streams.changes) { lookForEndOfBurst() }
        if streams.count == 0, let waiter = emptyWaiter {
            emptyWaiter = nil
            waiter.resume()
        }
    }

    /// Sets the one timer to the earliest deadline.
    private func setTimer() {
        guard let due = streams.nextDeadline else { return }
        if let timer {
            if timer.due <= due { return }
            poller.cancelDeadline(timer.id)
        }
        let id = poller.schedule(at: beginning + due.sinceBeginning) { [weak self] in
            self?.assumeIsolated { $0.deadlineCame() }
        }
        timer = (id, due)
    }

    private func deadlineCame() {
        timer = nil
        let now = now()
        while let (id, event) = streams.popDue(now: now) {
            tell(event)
            streams.reschedule(id)
        }
        followUp()
    }

    private func lookForEndOfBurst() {
        poller.schedule(at: poller.clock.now + MemoryTrimmer.pause) { [weak self] in
            self?.assumeIsolated { reactor in
                guard reactor.trimmer.isBurstOver(changes: reactor.streams.changes) else {
                    return reactor.lookForEndOfBurst()
                }
                // Not structured: no stream should wait for it, and nothing waits for its end.
                Task.detached { MemoryTrimmer.trim() }
            }
        }
    }
}
