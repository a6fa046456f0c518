public import CoreMetrics
import DequeModule
public import Domain
public import Logging
public import Polling
public import ServiceLifecycle
import Store

/// Brings each change of a watched session to its watchers.
///
/// Hints say which sessions may be behind; one batched read at a time asks the database about them; each answer goes to the
/// watchers who were given less. The poll asks the same of everything watched, so that a lost hint costs one interval and no
/// more. The decisions are ``HubStateMachine``'s; this carries them out, on the thread that also owns the sockets, so that
/// nothing between a decision and its writing has to be locked.
public actor ProgressHub: Service {
    /// How long after news of a session it is read once more.
    ///
    /// The database announces a percentage at most every 500 ms per session, so the last one of a burst comes without a
    /// hint.
    static let pauseAfterNews = Duration.milliseconds(600)
    /// Every watcher's right is looked at once in this time, whether or not anything has changed.
    static let rightsInterval = Duration.seconds(30)
    /// So many may wait to be let in.
    static let openingLimit = 20_000
    /// So many are let in by one statement, and so many statements may be under way.
    static let openingBatch = 500
    static let openingStatements = 2

    public nonisolated let poller: Poller
    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe poller.asUnownedSerialExecutor() }

    nonisolated let reader: any ProgressReader
    private nonisolated let pollInterval: Duration
    private nonisolated let logger: Logger
    private let sink: any WatcherSink
    private let metrics: HubMetrics
    private var machine: HubStateMachine
    private nonisolated let work = AsyncStream.makeStream(of: HubWork.self)

    /// Those who wait to be let in.
    private var openings: Deque<PendingOpening> = []
    private var openingsUnderWay = 0
    /// Watchers within the program.
    private var listeners: [WatcherID: AsyncStream<SessionProgress>.Continuation] = [:]
    /// Sessions to be read once more, each with the time, which rises from one to the next.
    private var pauses: Deque<(due: ContinuousClock.Instant, session: SessionID)> = []
    private var isPauseScheduled = false
    /// What was committed when the poll last looked.
    private var lastSnapshot: String?
    /// Reads have failed, and the next try waits for its time.
    private var isBackingOff = false
    private var backoff = Backoff()
    private var isClosed = false

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
        self.pollInterval = pollInterval
        self.metrics = HubMetrics(factory: metrics)
        self.logger = logger
        machine = HubStateMachine(admission: admission)
    }

    /// How many watch at present.
    var watcherCount: Int { machine.begunCount }

    // MARK: - Running

    /// Runs until the service group shuts down; then whoever still waits to be let in is turned away.
    public nonisolated func run() async throws {
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                group.addTask { await self.pollRegularly() }
                group.addTask { await self.checkRightsRegularly() }
                for await work in self.work.stream { group.addTask { await self.perform(work) } }
            }
        }
        await close()
    }

    private nonisolated func pollRegularly() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: pollInterval)
            await pollIsDue()
        }
    }

    private nonisolated func checkRightsRegularly() async {
        // Spread over the interval, a part every second.
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            await rightsAreDue()
        }
    }

    private func pollIsDue() {
        guard !machine.watched.isEmpty else { return }
        work.continuation.yield(.snapshot)
    }

    private func rightsAreDue() {
        machine.checkRights(share: 1 / (Self.rightsInterval / .seconds(1)))
        pump()
    }

    private func close() {
        isClosed = true
        for opening in openings { turnAway(opening) }
        openings = []
        for listener in listeners.values { listener.finish() }
        listeners = [:]
    }

    /// Begins every read that is wanted and may begin.
    private func pump() {
        guard !isBackingOff else { return }
        for lane in HubStateMachine.Lane.allCases {
            if let reading = machine.nextReading(lane) { work.continuation.yield(.reading(lane, reading)) }
        }
        if let requests = machine.nextCatchUp() { work.continuation.yield(.catchUp(requests)) }
        if let requests = machine.nextSweep() { work.continuation.yield(.sweep(requests)) }
    }

    private func send(_ deliveries: [Delivery]) {
        for delivery in deliveries {
            // What nothing follows is always taken.
            if delivery.message.isLast { for watcher in delivery.watchers { machine.end(watcher) } }
            metrics.delivered(delivery.watchers.count)
            for (watcher, exception) in sink.deliver(delivery) { machine.note(exception, of: watcher, in: delivery) }
        }
    }

    // MARK: - What the source tells

    /// Takes in what a ``ChangeSource`` tells.
    public func receive(_ events: [ChangeEvent]) {
        for event in events {
            switch event {
            case .hints(let hints):
                metrics.hinted(hints.count)
                for hint in hints { machine.hint(hint.session, version: hint.version) }
            case .resync: machine.resync()
            case .rightsChanged: machine.rightsChanged()
            case .workWaiting, .degraded: break
            }
        }
        pump()
    }

    // MARK: - What the sink tells, on the hub's thread

    /// The watcher has a socket, or room in it again.
    public func ready(_ watcher: WatcherID) {
        if let delivery = machine.ready(watcher) { send([delivery]) }
        pump()
    }

    /// The watcher's socket is gone.
    public func closed(_ watcher: WatcherID) { machine.release(watcher) }

    /// The watcher's access token has expired.
    public func expired(_ watcher: WatcherID) {
        send([Delivery(.expired(machine.session(of: watcher)), to: [watcher])])
    }

    /// The watcher's stream has lived as long as one may.
    public func outlived(_ watcher: WatcherID) { send([Delivery(.goodbye, to: [watcher])]) }

    /// Whoever was let in has no socket and wants none any more.
    nonisolated func forget(unattached watcher: WatcherID) {
        poller.execute { self.assumeIsolated { $0.releaseUnattached(watcher) } }
    }

    private func releaseUnattached(_ watcher: WatcherID) {
        if !machine.isAttached(watcher) { machine.release(watcher) }
    }
}

// MARK: - Opening

extension ProgressHub {
    /// Begins to watch a session.
    ///
    /// The watcher is registered before its snapshot is read, so that a change between the two is not missed. All who come
    /// while a statement is under way share the next one.
    ///
    /// - Parameter after: Also returns the transitions after this version.
    /// - Throws: `PostgresError` when the database cannot say.
    public func open(
        _ session: SessionID, for principal: Principal, after: Int64? = nil
    ) async throws -> WatchOpening {
        guard !isClosed, openings.count < Self.openingLimit else {
            metrics.turnedAway()
            return .turnedAway
        }
        let watcher = machine.register(session, for: principal)
        return try await withCheckedThrowingContinuation { continuation in
            openings.append(
                PendingOpening(
                    request: OpeningRequest(session, for: principal, after: after), watcher: watcher,
                    continuation: continuation))
            pumpOpenings()
        }
    }

    private func pumpOpenings() {
        while openingsUnderWay < Self.openingStatements, !openings.isEmpty {
            let batch = Array(openings.prefix(Self.openingBatch))
            openings.removeFirst(batch.count)
            openingsUnderWay += 1
            work.continuation.yield(.openings(batch))
        }
    }

    func completed(_ pending: [PendingOpening], _ answers: [SessionOpening]) {
        openingsUnderWay -= 1
        for (opening, answer) in zip(pending, answers) { complete(opening, answer) }
        pumpOpenings()
        pump()
    }

    private func complete(_ opening: PendingOpening, _ answer: SessionOpening) {
        guard answer.permits(.see), let progress = answer.progress else {
            machine.release(opening.watcher)
            return opening.continuation.resume(returning: .refused(answer.verdict))
        }
        guard !isClosed else { return turnAway(opening) }
        guard !progress.status.isFinished else {
            machine.release(opening.watcher)
            return opening.continuation.resume(returning: .opened(answer, nil))
        }
        switch machine.begin(opening.watcher, at: progress.version, epoch: answer.rightsEpoch) {
        case .turnedAway: turnAway(opening)
        case .begun(let pauses):
            if pauses { readAfterPause([progress.sessionID]) }
            opening.continuation.resume(returning: .opened(answer, Watch(watcher: opening.watcher, hub: self)))
        }
    }

    private func turnAway(_ opening: PendingOpening) {
        metrics.turnedAway()
        machine.release(opening.watcher)
        opening.continuation.resume(returning: .turnedAway)
    }

    /// Watches a session from within the program: the state as it stands, then each that is newer; it ends when the session
    /// is deleted or the server stops.
    ///
    /// A slow reader gets the newest state alone.
    public func states(of session: SessionID) -> AsyncStream<SessionProgress> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: SessionProgress.self, bufferingPolicy: .bufferingNewest(1))
        guard !isClosed else {
            continuation.finish()
            return stream
        }
        let listener = machine.listen(to: session)
        listeners[listener] = continuation
        continuation.onTermination = { [poller] _ in
            poller.execute { self.assumeIsolated { $0.forgetListener(listener) } }
        }
        pump()
        return stream
    }

    private func forgetListener(_ listener: WatcherID) {
        listeners[listener] = nil
        machine.release(listener)
    }
}

// MARK: - What reads bring

extension ProgressHub {
    func completed(_ lane: HubStateMachine.Lane, _ changes: ProgressChanges) {
        succeeded()
        if !changes.unreadable.isEmpty {
            logger.error("rows of progress cannot be read", metadata: ["sessions": "\(changes.unreadable.count)"])
        }
        let news = changes.changed.map { SessionReading(progress: $0.progress, transitions: $0.transitions) }
        let outcome = machine.completed(lane, news, missing: changes.missing, epoch: changes.rightsEpoch)
        send(outcome.deliveries)
        for (listener, progress) in outcome.listeners { listeners[listener]?.yield(progress) }
        for listener in outcome.endedListeners { listeners[listener]?.finish() }
        readAfterPause(outcome.pauses)
        pump()
    }

    func completedCatchUp(_ openings: [SessionOpening]) {
        succeeded()
        let answers = openings.map { opening in
            opening.permits(.see)
                ? opening.progress.map { SessionReading(progress: $0, transitions: opening.transitions) } : nil
        }
        send(machine.completedCatchUp(answers, epoch: openings.first?.rightsEpoch ?? 0))
        pump()
    }

    func completedSweep(lost: Set<Int>, epoch: Int64) {
        succeeded()
        send(machine.completedSweep(lost: lost, epoch: epoch))
        pump()
    }

    func completed(snapshot: String) {
        succeeded()
        if let recovery = machine.recovered() {
            send([recovery])
            machine.resync()
        }
        if snapshot != lastSnapshot {
            lastSnapshot = snapshot
            metrics.foundByPoll(machine.poll())
        }
        pump()
    }

    func failed(_ work: HubWork, _ error: any Error) {
        switch work {
        case .reading(let lane, _): machine.failed(lane)
        case .catchUp: machine.failedCatchUp()
        case .sweep: machine.failedSweep()
        case .snapshot: break
        case .openings(let pending):
            openingsUnderWay -= 1
            for opening in pending {
                machine.release(opening.watcher)
                opening.continuation.resume(throwing: error)
            }
            return pumpOpenings()
        }
        guard !isClosed, !Task.isCancelled else { return }
        if !machine.isDegraded {
            logger.warning("cannot read progress from the database", metadata: ["error": "\(error)"])
        }
        if let delivery = machine.degraded() { send([delivery]) }
        guard !isBackingOff else { return }
        isBackingOff = true
        poller.schedule(at: .now + backoff.next()) { [weak self] in self?.assumeIsolated { $0.tryAgain() } }
    }

    private func tryAgain() {
        isBackingOff = false
        pump()
    }

    private func succeeded() {
        metrics.read()
        backoff.reset()
    }

    // MARK: - Pauses

    private func readAfterPause(_ sessions: [SessionID]) {
        let due = ContinuousClock.now + Self.pauseAfterNews
        pauses.append(contentsOf: sessions.map { (due, $0) })
        schedulePauses()
    }

    private func schedulePauses() {
        guard !isPauseScheduled, let first = pauses.first else { return }
        isPauseScheduled = true
        poller.schedule(at: first.due) { [weak self] in self?.assumeIsolated { $0.endPauses() } }
    }

    private func endPauses() {
        isPauseScheduled = false
        let now = ContinuousClock.now
        var again: [SessionID] = []
        while let first = pauses.first, first.due <= now {
            pauses.removeFirst()
            if machine.pauseEnded(first.session) { again.append(first.session) }
        }
        readAfterPause(again)
        pump()
    }
}
