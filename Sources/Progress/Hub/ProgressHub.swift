public import CoreMetrics
public import Domain
public import Logging
public import Polling
public import ServiceLifecycle
public import Store

/// Brings each change of a watched session to its watchers.
///
/// Hints say which sessions may be behind; one batched read at a time asks the database about them; each answer goes to the
/// watchers that have an older version. The poll asks the same of everything watched, so that a lost hint costs one interval
/// and no more. The decisions are ``HubStateMachine``'s. The hub performs them, on the thread that also owns the sockets, so
/// that nothing between a decision and its writing has to be locked.
public actor ProgressHub: Service {
    /// The thread of the hub, and its clock.
    public nonisolated let poller: Poller
    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe poller.asUnownedSerialExecutor() }

    private nonisolated let reader: any ProgressReader
    private nonisolated let logger: Logger
    private let sink: any WatcherSink
    let metrics: HubMetrics
    private(set) var machine: HubStateMachine
    private nonisolated let reads = AsyncStream.makeStream(of: HubRead.self)
    /// Those that wait to be let in.
    private var openers: [WatcherID: CheckedContinuation<Openings.Result, Never>] = [:]
    private var localSubscribers: [WatcherID: AsyncStream<SessionProgress>.Continuation] = [:]
    /// The earliest moment for which the poller was asked to wake the hub.
    private var wakeUp: ContinuousClock.Instant?

    /// - Parameters:
    ///   - poller: The thread to live on: the one that owns the sockets.
    ///   - reader: The database.
    ///   - sink: The sockets.
    ///   - admission: How many streams there may be.
    ///   - pollInterval: The time between two looks at everything that is watched (`SSE_UPDATE_INTERVAL`).
    public init(
        poller: Poller, reader: any ProgressReader, sink: any WatcherSink, admission: StreamAdmission,
        pollInterval: Duration, metrics: any MetricsFactory, logger: Logger
    ) {
        self.poller = poller
        self.reader = reader
        self.sink = sink
        self.metrics = HubMetrics(factory: metrics)
        self.logger = logger
        machine = HubStateMachine(admission: admission, pollInterval: pollInterval)
    }

    private var now: ContinuousClock.Instant { poller.clock.now }
    private var isClosed: Bool { machine.openings.isClosed }

    // MARK: - Running

    /// Runs until the service group shuts down; then those that still wait to be let in are rejected.
    public nonisolated func run() async throws {
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                await self.start()
                for await read in self.reads.stream { group.addTask { await self.perform(read) } }
            }
        }
        await close()
    }

    private func start() {
        machine.start(at: now)
        proceed()
    }

    private func close() {
        perform(machine.close())
        for continuation in localSubscribers.values { continuation.finish() }
        localSubscribers = [:]
    }

    /// Begins every read that is wanted and may begin, and asks to be woken when time has something to do.
    private func proceed() {
        for source in HubRead.Source.all {
            while let read = machine.nextRead(source) {
                if case .terminated = reads.continuation.yield(read) { perform(machine.couldNotBegin(read)) }
            }
        }
        guard !isClosed, let due = machine.due, wakeUp.map({ due < $0 }) ?? true else { return }
        wakeUp = due
        poller.schedule(at: due) { [weak self] in self?.assumeIsolated { $0.wake(at: due) } }
    }

    private func wake(at moment: ContinuousClock.Instant) {
        // If an earlier wake-up was asked for after this one, this one is an extra look at the time.
        if wakeUp == moment { wakeUp = nil }
        machine.timeIs(now)
        proceed()
    }

    /// Makes a read and gives its answer to the hub.
    private nonisolated func perform(_ read: HubRead) async {
        do {
            await completed(try await read.answer(from: reader))
        } catch {
            await failed(read, error)
        }
    }

    private func completed(_ answer: HubAnswer) {
        if answer.unreadable > 0 {
            logger.error("rows of progress cannot be read", metadata: ["rows": "\(answer.unreadable)"])
        }
        if case .openings = answer {} else { metrics.read() }
        perform(machine.completed(answer, at: now))
        proceed()
    }

    private func failed(_ read: HubRead, _ error: any Error) {
        let wasDegraded = machine.trouble.isDegraded
        let actions = machine.failed(
            read, error, isCutShort: Task.isCancelled, jitter: .random(in: 0.5...1), at: now)
        if machine.trouble.isDegraded, !wasDegraded {
            logger.warning("cannot read progress from the database", metadata: ["error": "\(error)"])
        }
        perform(actions)
        proceed()
    }

    private func perform(_ actions: [HubAction]) {
        for action in actions {
            switch action {
            case .deliver(let delivery):
                metrics.delivered(delivery.watchers.count)
                perform(machine.delivered(delivery, sink.deliver(delivery)))
            case .update(let id, let progress): localSubscribers[id]?.yield(progress)
            case .finish(let id): localSubscribers[id]?.finish()
            case .answer(let id, let result): answer(id, result)
            case .foundByPoll(let count): metrics.foundByPoll(count)
            }
        }
    }

    /// Gives an event to the machine, and performs what it leads to.
    func handle(_ event: (inout HubStateMachine) -> [HubAction]) {
        perform(event(&machine))
        proceed()
    }

    // MARK: - Openings

    /// Opens the stream of a session.
    ///
    /// - Parameters:
    ///   - after: Also returns the transitions after this version.
    ///   - requestID: The request behind it, for the audit log.
    /// - Throws: `PostgresError` when the database cannot say.
    public func subscribe(
        to session: SessionID, for principal: Principal, after: Int64? = nil, requestID: String? = nil
    ) async throws -> SubscribeOutcome {
        let request = AuthorizationRequest(
            session, for: principal, after: after, action: after == nil ? .openStream : .resumeStream,
            requestID: requestID)
        guard let id = machine.subscribe(request) else { return .rejected(reject()) }
        switch await result(for: id) {
        case .session(let opening, let isWatched):
            return .subscribed(opening, isWatched ? Watch(watcher: id, hub: self) : nil)
        case .refused(let verdict): return .refused(verdict)
        case .rejected(let rejection): return .rejected(rejection)
        case .failed(let error): throw error
        case .caseload: preconditionFailure("a stream of one session begins with that session")
        }
    }

    /// Opens the stream of all the sessions that a user may see.
    ///
    /// - Parameters:
    ///   - position: Where the client left off: what was committed since is told first.
    ///   - requestID: The request behind it, for the audit log.
    /// - Throws: `PostgresError` when the database cannot say.
    public func subscribeToAll(
        for principal: Principal, since position: FeedPosition?, requestID: String? = nil
    ) async throws -> SubscribeToAllOutcome {
        guard let id = machine.subscribeToAll(for: principal, since: position, requestID: requestID) else {
            return .rejected(reject())
        }
        switch await result(for: id) {
        case .caseload(let events, let before, let after):
            return .subscribed(Watch(watcher: id, hub: self), events, before: before, after: after)
        case .refused(let verdict): return .refused(verdict)
        case .rejected(let rejection): return .rejected(rejection)
        case .failed(let error): throw error
        case .session: preconditionFailure("a stream of all sessions begins with the caseload")
        }
    }

    /// Waits for the answer to a watcher.
    private func result(for id: WatcherID) async -> Openings.Result {
        await withCheckedContinuation { continuation in
            openers[id] = continuation
            proceed()
        }
    }

    private func answer(_ id: WatcherID, _ result: Openings.Result) {
        if case .rejected = result { metrics.rejected() }
        openers.removeValue(forKey: id)?.resume(returning: result)
    }

    private func reject() -> Rejection {
        metrics.rejected()
        return machine.openings.rejection
    }

    // MARK: - Local subscribers

    /// Watches a session from within the program: the present state, then each that is newer; it ends when the session is
    /// deleted or the server stops.
    ///
    /// A slow reader gets the newest state alone.
    public func states(of session: SessionID) -> AsyncStream<SessionProgress> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: SessionProgress.self, bufferingPolicy: .bufferingNewest(1))
        guard !isClosed else {
            continuation.finish()
            return stream
        }
        let id = machine.subscribeLocally(to: session)
        localSubscribers[id] = continuation
        continuation.onTermination = { [poller] _ in
            poller.execute { self.assumeIsolated { $0.unsubscribe(id) } }
        }
        proceed()
        return stream
    }

    /// How many local subscribers there are.
    var localSubscriberCount: Int { localSubscribers.count }

    private func unsubscribe(_ id: WatcherID) {
        localSubscribers[id] = nil
        machine.closed(id)
    }
}
