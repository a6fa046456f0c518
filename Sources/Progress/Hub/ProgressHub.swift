public import CoreMetrics
public import Domain
public import Logging
public import Polling
public import ServiceLifecycle
public import Store

/// Brings each change of a watched session to its watchers.
///
/// A hint names a session that may have changed. One batched read at a time reads such sessions from the database. The answer
/// goes to the watchers that have an older version. The poll reads everything that is watched, and therefore a lost hint
/// delays a change by one interval at most.
///
/// ``HubStateMachine`` decides, and the hub performs its actions. The hub runs on the thread that also owns the sockets, and
/// needs no lock between a decision and the write.
public actor ProgressHub: Service {
    /// The thread of the hub, and its clock.
    public nonisolated let poller: Poller
    /// The executor that runs the hub on the thread of its poller.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe poller.asUnownedSerialExecutor() }

    private nonisolated let reader: any ProgressReader
    private nonisolated let logger: Logger
    private let sink: any WatcherSink
    let metrics: HubMetrics
    /// How far the hub is behind now.
    ///
    /// Any thread may read it.
    public nonisolated let delays: HubDelays
    private(set) var machine: HubStateMachine
    private nonisolated let reads = AsyncStream.makeStream(of: HubRead.self)
    /// The callers that wait for their subscriptions.
    private var callers: [WatcherID: @Sendable (PendingSubscriptions.Outcome) -> Void] = [:]
    private var localSubscribers: [WatcherID: AsyncStream<SessionProgress>.Continuation] = [:]
    /// The earliest moment at which the poller will wake the hub; nil if there is none.
    private var wakeUp: ContinuousClock.Instant?

    /// A hub that does not run yet.
    ///
    /// - Parameters:
    ///   - poller: The thread of the hub, which also owns the sockets.
    ///   - reader: The database.
    ///   - sink: The sockets.
    ///   - admission: The limits of streams.
    ///   - pollInterval: The time between two polls (`SSE_UPDATE_INTERVAL`).
    ///   - metrics: The factory of the hub's counters and histograms.
    ///   - logger: The log.
    public init(
        poller: Poller, reader: any ProgressReader, sink: any WatcherSink, admission: StreamAdmission,
        pollInterval: Duration, metrics: any MetricsFactory, logger: Logger
    ) {
        self.poller = poller
        self.reader = reader
        self.sink = sink
        self.metrics = HubMetrics(factory: metrics)
        delays = HubDelays(clock: poller.clock)
        self.logger = logger
        machine = HubStateMachine(admission: admission, pollInterval: pollInterval)
    }

    var now: ContinuousClock.Instant { poller.clock.now }
    private var isDegraded: Bool { machine.watchers.outage.isDegraded }
    private var isClosed: Bool { machine.subscriptions.isClosed }

    // MARK: - Running

    /// Runs until the service group shuts down.
    ///
    /// The hub then rejects the pending subscriptions.
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
        perform(machine.close(at: now))
        for continuation in localSubscribers.values { continuation.finish() }
        localSubscribers = [:]
    }

    /// Begins every read that is wanted and may begin, and asks the poller to wake the hub when the next deadline is due.
    private func proceed() {
        for source in HubRead.Source.all {
            while let read = machine.nextRead(source) {
                if case .terminated = reads.continuation.yield(read) { perform(machine.couldNotBegin(read, at: now)) }
            }
        }
        delays.note(oldestHint: machine.oldestHint, feedBehindSince: machine.feedBehindSince)
        guard !isClosed, let due = machine.due, wakeUp.map({ due < $0 }) ?? true else { return }
        wakeUp = due
        poller.schedule(at: due) { [weak self] in self?.assumeIsolated { $0.wake(at: due) } }
    }

    private func wake(at moment: ContinuousClock.Instant) {
        // This wake-up is superfluous if the hub has asked for an earlier one since. It does no harm.
        if wakeUp == moment { wakeUp = nil }
        machine.timeIs(now)
        proceed()
    }

    /// Reads from the database, and gives the answer to the hub.
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
        if case .subscriptions = answer {} else { metrics.read() }
        perform(machine.completed(answer, at: now))
        proceed()
    }

    private func failed(_ read: HubRead, _ error: any Error) {
        let wasDegraded = isDegraded
        let actions = machine.failed(
            read, error, isCancelled: Task.isCancelled, jitter: .random(in: 0.5...1), at: now)
        if isDegraded, !wasDegraded {
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
            case .answer(let id, let outcome): answer(id, outcome)
            case .foundByPoll(let count): metrics.foundByPoll(count)
            case .shown(let change): metrics.shown(change, at: now, time: .now())
            case .resynced(let duration): metrics.resynced(after: duration)
            }
        }
    }

    /// Gives an event to the machine, and performs its actions.
    func handle(_ event: (inout HubStateMachine) -> [HubAction]) {
        perform(event(&machine))
        proceed()
    }

    // MARK: - Subscriptions

    /// Subscribes a user to one session.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - principal: The user.
    ///   - after: The version that the client has. The answer includes the transitions since then; nil for none.
    ///   - requestID: The `X-Request-Id` of the request, for the audit log.
    ///   - network: Where the request came from, for the audit log; nil if that is unknown.
    /// - Returns: The state that the stream begins with, or why it doesn't begin.
    /// - Throws: `PostgresError` if the read failed, `UnreadableRow` if this release cannot read the row.
    public func subscribe(
        to session: SessionID, for principal: Principal, after: Int64? = nil, requestID: RequestIdentifier? = nil,
        network: ClientNetwork? = nil
    ) async throws -> SubscribeOutcome {
        try await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<SubscribeOutcome, any Error>, Never>) in
            subscribeHere(to: session, for: principal, after: after, requestID: requestID, network: network) {
                continuation.resume(returning: $0)
            }
        }.get()
    }

    /// Subscribes a user to one session, without a task of the caller.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - principal: The user.
    ///   - after: The version that the client has. The answer includes the transitions since then; nil for none.
    ///   - requestID: The `X-Request-Id` of the request, for the audit log.
    ///   - network: Where the request came from, for the audit log; nil if that is unknown.
    ///   - answer: Gets what ``subscribe(to:for:after:requestID:network:)`` returns or throws, on the hub's thread.
    public nonisolated func subscribe(
        to session: SessionID, for principal: Principal, after: Int64?, requestID: RequestIdentifier?,
        network: ClientNetwork?,
        answer: @escaping @Sendable (Result<SubscribeOutcome, any Error>) -> Void
    ) {
        poller.execute {
            self.assumeIsolated {
                $0.subscribeHere(
                    to: session, for: principal, after: after, requestID: requestID, network: network, answer: answer)
            }
        }
    }

    private func subscribeHere(
        to session: SessionID, for principal: Principal, after: Int64?, requestID: RequestIdentifier?,
        network: ClientNetwork?,
        answer: @escaping @Sendable (Result<SubscribeOutcome, any Error>) -> Void
    ) {
        let request = AuthorizationRequest(
            session, for: principal, after: after, action: after == nil ? .openStream : .resumeStream,
            requestID: requestID, network: network)
        guard let id = machine.subscribe(request) else { return answer(.success(.rejected(reject()))) }
        callers[id] = { outcome in
            switch outcome {
            case .session(let authorization, let isWatched):
                answer(.success(.subscribed(authorization, isWatched ? Watch(watcher: id, hub: self) : nil)))
            case .refused(let verdict): answer(.success(.refused(verdict)))
            case .rejected(let rejection): answer(.success(.rejected(rejection)))
            case .failed(let error): answer(.failure(error))
            case .caseload: preconditionFailure("the stream of one session begins with a state")
            }
        }
        proceed()
    }

    /// Subscribes a user to all sessions that the user may see.
    ///
    /// - Parameters:
    ///   - principal: The user.
    ///   - position: The position from which the client resumes. The events begin with what it has missed; nil for a new
    ///     stream.
    ///   - requestID: The `X-Request-Id` of the request, for the audit log.
    ///   - network: Where the request came from, for the audit log; nil if that is unknown.
    /// - Returns: The events that the stream begins with, or why it doesn't begin.
    /// - Throws: `PostgresError` if the read failed, `UnreadableRow` if this release cannot read a row.
    public func subscribeToAll(
        for principal: Principal, since position: FeedPosition?, requestID: RequestIdentifier? = nil,
        network: ClientNetwork? = nil
    ) async throws -> SubscribeToAllOutcome {
        guard
            let id = machine.subscribeToAll(
                for: principal, since: position, requestID: requestID, network: network)
        else { return .rejected(reject()) }
        switch await outcome(for: id) {
        case .caseload(let events, let before, let after):
            return .subscribed(Watch(watcher: id, hub: self), events, before: before, after: after)
        case .refused(let verdict): return .refused(verdict)
        case .rejected(let rejection): return .rejected(rejection)
        case .failed(let error): throw error
        case .session: preconditionFailure("the stream of all sessions begins with a caseload")
        }
    }

    /// Waits for the answer to a pending subscription.
    private func outcome(for id: WatcherID) async -> PendingSubscriptions.Outcome {
        await withCheckedContinuation { continuation in
            callers[id] = { continuation.resume(returning: $0) }
            proceed()
        }
    }

    private func answer(_ id: WatcherID, _ outcome: PendingSubscriptions.Outcome) {
        if case .rejected = outcome { metrics.rejected() }
        callers.removeValue(forKey: id)?(outcome)
    }

    private func reject() -> Rejection {
        metrics.rejected()
        return machine.subscriptions.rejection
    }

    // MARK: - Local subscribers

    /// Subscribes a part of the program to a session.
    ///
    /// The sequence begins with the present state, and ends when the session is deleted or the server stops. A slow reader gets
    /// only the newest state.
    ///
    /// - Parameter session: The session.
    /// - Returns: The states, with rising versions.
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

    /// The number of local subscribers.
    var localSubscriberCount: Int { localSubscribers.count }

    private func unsubscribe(_ id: WatcherID) {
        localSubscribers[id] = nil
        machine.closed(id)
    }
}
