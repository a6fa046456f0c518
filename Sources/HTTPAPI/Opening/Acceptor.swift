import DequeModule
import Domain
import FoundationEssentials
import Glibc
import Logging
import Polling

/// Accepts all connections, and reads what a client sends first, on one thread.
///
/// The ``StreamOpener`` gets the requests that it can read, and the framework all others. After a restart all clients connect
/// at once. The kernel drops what does not fit into its queue, and a client then waits a second before it tries again. The
/// acceptor therefore empties the queue before and during all other work. It takes a few microseconds for a connection, and
/// does not depend on the event loops.
///
/// ``AcceptStateMachine`` decides when the acceptor accepts. Each descriptor has one owner: the acceptor until it gives the
/// descriptor to the reactor or to the framework.
actor Acceptor: PollHandler {
    /// A connection whose client has sent nothing yet.
    struct SilentConnection {
        /// The address at the other end.
        let peer: IPAddress
        /// When the connection ends.
        let deadline: DeadlineID
    }

    /// How long a client may send nothing.
    static let idleTimeout = Duration.seconds(75)
    /// After so many requests and answers, the acceptor looks for new connections.
    static let stepsBetweenLooks = 32
    /// How many connections the acceptor accepts before other work gets its turn.
    static let acceptsInARow = 1024

    /// The thread of the acceptor.
    nonisolated let poller: Poller
    /// The executor that runs the acceptor on the thread of its poller.
    nonisolated var unownedExecutor: UnownedSerialExecutor { poller.asUnownedSerialExecutor() }

    private nonisolated let limit: ConnectionLimit
    private let sockets: [ListeningSocket]
    let opener: StreamOpener
    let framework: FrameworkConnections
    let logger: Logger
    var machine = AcceptStateMachine()
    /// The connections that were accepted and not read yet, the oldest first.
    var fresh: Deque<(descriptor: CInt, peer: IPAddress)> = []
    /// True if the fresh connections are about to be read.
    var readsFresh = false
    /// The connections that the poller watches, by descriptor.
    var silent: [CInt: SilentConnection] = [:]
    /// The descriptors whose request the hub has.
    ///
    /// Nothing reads them meanwhile: TCP slows a client down that sends more.
    var openings: Set<CInt> = []
    /// The index of the socket whose turn it is to accept from.
    private var turn = 0
    private var steps = 0

    /// Makes an acceptor that does not accept yet.
    ///
    /// - Parameters:
    ///   - sockets: The sockets. The acceptor closes them when it stops.
    ///   - limit: The limit of connections.
    ///   - opener: Opens the streams of one session.
    ///   - framework: Takes all other connections.
    ///   - clock: The clock of the acceptor's thread.
    ///   - logger: Takes the log.
    /// - Throws: `PollerError` if the process has no descriptor or thread left.
    init(
        _ sockets: [ListeningSocket], limit: ConnectionLimit, opener: StreamOpener, framework: FrameworkConnections,
        clock: any MonotonicClock, logger: Logger
    ) throws {
        poller = try Poller(name: "http-accept", clock: clock)
        self.sockets = sockets
        self.limit = limit
        self.opener = opener
        self.framework = framework
        self.logger = logger
    }

    deinit { poller.stop() }

    // MARK: - Beginning and end

    /// Begins to accept connections.
    ///
    /// - Returns: False if the server shuts down already.
    /// - Throws: `PollerError` if the kernel refuses to watch a socket.
    func start() throws -> Bool {
        guard machine.isAccepting else { return false }
        for socket in sockets { try poller.watch(socket.descriptor, for: .read, handler: self) }
        return true
    }

    /// Begins the graceful shutdown: the acceptor accepts what the kernel has completed, and nothing after that.
    ///
    /// Connections without a request are closed. All others get their answers. When the hub has answered the last opening, the
    /// framework gets no connection any more.
    nonisolated func shutDown() {
        poller.execute { self.assumeIsolated { $0.stop() } }
    }

    private func stop() {
        acceptAll()
        guard machine.stop() else { return }
        closeSockets()
        // A request may have come that was not read yet.
        while let (descriptor, peer) = fresh.popFirst() { readFresh(descriptor, from: peer) }
        for descriptor in silent.keys {
            readSilent(descriptor)
            dropSilent(descriptor)
        }
        framework.quiesce()
        finishIfEmpty()
    }

    private func closeSockets() {
        for socket in sockets {
            poller.unwatch(socket.descriptor)
            socket.stop()
        }
    }

    func finishIfEmpty() {
        if !machine.isOpen, fresh.isEmpty, silent.isEmpty, openings.isEmpty { framework.finish() }
    }

    /// Closes the sockets and the connections that are left after a cancellation.
    func end() {
        if machine.stop() { closeSockets() }
        while let (descriptor, _) = fresh.popFirst() { drop(descriptor) }
        for descriptor in silent.keys { dropSilent(descriptor) }
        for descriptor in openings { drop(descriptor) }
        openings = []
        framework.finish()
    }

    // MARK: - Accepting

    /// Handles the readiness of a socket, on the poller's thread.
    nonisolated func pollerReady(_ descriptor: CInt, _ readiness: PollReadiness) {
        assumeIsolated { $0.ready(descriptor) }
    }

    private func ready(_ descriptor: CInt) {
        if sockets.contains(where: { $0.descriptor == descriptor }) {
            acceptAll(atMost: Self.acceptsInARow)
        } else {
            readSilent(descriptor)
            step()
        }
    }

    /// Empties the kernel's queues.
    ///
    /// The sockets take turns: if slots are rare, neither one gets all of them.
    func acceptAll(atMost most: Int = .max) {
        var accepted = 0
        var emptyQueues = 0
        while accepted < most, emptyQueues < sockets.count, machine.isAccepting {
            if acceptOne(from: sockets[turn]) {
                accepted += 1
                emptyQueues = 0
            } else {
                emptyQueues += 1
            }
            turn = (turn + 1) % sockets.count
        }
        readFreshSoon()
    }

    /// Accepts one connection.
    ///
    /// - Returns: False if there is none.
    private func acceptOne(from socket: ListeningSocket) -> Bool {
        guard limit.enter() else {
            machine.becameFull()
            watchSockets()
            return false
        }
        switch socket.accept() {
        case .connection(let descriptor, let peer):
            fresh.append((descriptor, IPAddress(bytes: peer)))
            if !DescriptorReserve.isFree(afterTaking: descriptor) { failed(EMFILE) }
            return true
        case .none:
            leave()
            return false
        case .failed(let code):
            leave()
            failed(code)
            return true
        }
    }

    func failed(_ code: CInt) {
        guard case .pause(let warns) = machine.failed(code, at: poller.clock.now) else { return }
        if warns {
            logger.warning("cannot accept connections", metadata: ["reason": "\(String(cString: strerror(code)))"])
        }
        watchSockets()
        tryAgainSoon()
    }

    private func tryAgainSoon() {
        poller.schedule(at: poller.clock.now + AcceptStateMachine.pause) { [weak self] in
            self?.assumeIsolated { $0.tryAgain() }
        }
    }

    private func tryAgain() {
        guard machine.isOpen else { return }
        guard DescriptorReserve.isFree(probing: sockets[0].descriptor) else { return tryAgainSoon() }
        if machine.pauseIsOver() { watchSockets() }
    }

    /// Watches the sockets while the acceptor accepts.
    ///
    /// A readiness that nothing answers would keep the thread busy.
    private func watchSockets() {
        // The call fails only without memory in the kernel. The next call comes with the next change.
        for socket in sockets { try? poller.setInterest(machine.isAccepting ? .read : [], of: socket.descriptor) }
    }

    /// A connection has ended, or does not count any more.
    ///
    /// Any thread may call this.
    nonisolated func leave() {
        guard limit.leave() else { return }
        poller.execute { [weak self] in
            self?.assumeIsolated { if $0.machine.slotIsFree() { $0.watchSockets() } }
        }
    }

    /// Counts a step of other work, and looks for new connections now and then.
    func step() {
        steps += 1
        if steps.isMultiple(of: Self.stepsBetweenLooks), machine.isAccepting { acceptAll(atMost: Self.acceptsInARow) }
    }
}
