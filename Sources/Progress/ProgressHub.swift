public import CoreMetrics
import DequeModule
import Domain
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
    static let openingBatch = 250
    static let openingStatements = 2

    public nonisolated let poller: Poller
    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe poller.asUnownedSerialExecutor() }

    nonisolated let reader: any ProgressReader
    private nonisolated let pollInterval: Duration
    nonisolated let logger: Logger
    let sink: any WatcherSink
    let metrics: HubMetrics
    var machine: HubStateMachine
    nonisolated let work = AsyncStream.makeStream(of: HubWork.self)

    /// Those who wait to be let in.
    var openings: Deque<PendingOpening> = []
    var openingsUnderWay = 0
    /// Those who wait for a caseload, and how many reads are under way for them.
    var followings: Deque<PendingFollowing> = []
    var followingsUnderWay = 0
    /// Watchers within the program.
    var listeners: [WatcherID: AsyncStream<SessionProgress>.Continuation] = [:]
    /// Sessions to be read once more, each with the time, which rises from one to the next.
    var pauses: Deque<(due: ContinuousClock.Instant, session: SessionID)> = []
    var isPauseScheduled = false
    /// What was committed when the poll last looked.
    var lastSnapshot: String?
    /// Reads have failed, and the next try waits for its time.
    var isBackingOff = false
    var backoff = Backoff()
    var isClosed = false

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

    /// Why somebody is turned away now.
    var turningAway: TurningAway { isClosed ? .closing : .tooMany }

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
        guard !machine.isIdle else { return }
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
        for following in followings { turnAway(following) }
        followings = []
        for listener in listeners.values { listener.finish() }
        listeners = [:]
    }

    /// Begins every read that is wanted and may begin.
    func pump() {
        guard !isBackingOff else { return }
        for lane in HubStateMachine.Lane.allCases {
            if let reading = machine.nextReading(lane) { work.continuation.yield(.reading(lane, reading)) }
        }
        if let requests = machine.nextCatchUp() { work.continuation.yield(.catchUp(requests)) }
        if let requests = machine.nextSweep() { work.continuation.yield(.sweep(requests)) }
        if let (position, sessions) = machine.nextFeed() {
            work.continuation.yield(.feed(since: position, sessions: sessions))
        }
        while let read = machine.nextFollowerRead() { work.continuation.yield(.follower(read)) }
    }

    func send(_ deliveries: [Delivery]) {
        for delivery in deliveries {
            metrics.delivered(delivery.watchers.count)
            let exceptions = sink.deliver(delivery)
            if delivery.message.isLast {
                // Who had no room for the last state is asked about once more when there is some.
                let refused = Set(exceptions.lazy.filter { $0.exception == .refused }.map(\.watcher))
                for watcher in delivery.watchers where !refused.contains(watcher) { machine.end(watcher) }
            }
            for (watcher, exception) in exceptions {
                if let instead = machine.note(exception, of: watcher, in: delivery) { send([instead]) }
            }
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

    /// Whether no read has shown that rights have changed since the watcher was let in.
    func isCurrent(_ watcher: WatcherID) -> Bool { machine.isCurrent(watcher) }

    /// The watcher has a socket now, and was not sent what it was let in with.
    func ready(_ watcher: WatcherID, given version: Int64) {
        machine.withhold(watcher, given: version)
        ready(watcher)
        // Who follows a caseload comes back with the position that it has, and is told from there.
        if machine.isFollower(watcher) { send([Delivery(.goodbye, to: [watcher])]) }
    }

    /// The watcher's socket has no room at present.
    public func filled(_ watcher: WatcherID) { machine.filled(watcher) }

    /// The watcher wants no more, and its socket will soon be gone.
    public func leaving(_ watcher: WatcherID) { machine.end(watcher) }

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
