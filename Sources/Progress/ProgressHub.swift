public import Domain
public import Logging
public import ServiceLifecycle
import Synchronization

/// Brings each change of a watched session to its watchers.
///
/// Hints say which sessions may be behind; one batched read at a time asks the database about them; each reading goes to
/// the watchers that have been given less. The poll asks the same of everything watched, so that a lost hint costs one
/// interval and no more.
public final class ProgressHub: Service {
    /// How long after news of a session it is read once more.
    ///
    /// The database announces a percentage at most every 500 ms per session, so the last one of a burst comes without a
    /// hint.
    static let pauseAfterNews = Duration.milliseconds(600)

    private struct State {
        var machine = HubStateMachine()
        var mailboxes: [HubStateMachine.WatcherID: ProgressWatcher] = [:]
        var rightsEpoch: Int64?
        var isDegraded = false
        var isClosed = false
    }

    private let reader: any ProgressReader
    private let pollInterval: Duration
    private let logger: Logger
    private let state = Mutex(State())
    /// Says that a read may be wanted.
    ///
    /// One pending word is enough.
    private let wanted = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    /// Sessions to be read once more, each with the time, which rises from one to the next.
    private let pauses = AsyncStream.makeStream(of: (ContinuousClock.Instant, SessionID).self)

    /// - Parameters:
    ///   - reader: The database.
    ///   - pollInterval: The time between two looks at everything that is watched (`SSE_UPDATE_INTERVAL`).
    public init(reader: any ProgressReader, pollInterval: Duration, logger: Logger) {
        self.reader = reader
        self.pollInterval = pollInterval
        self.logger = logger
    }

    /// How many watch at present.
    public var watcherCount: Int { state.withLock { $0.machine.watcherCount } }

    /// Begins to watch a session.
    ///
    /// Subscribe before reading the snapshot that the watcher begins with, then tell its version to
    /// ``ProgressSubscription/begin(at:)``: a change between the two is then never missed.
    ///
    /// - Returns: The subscription; it ends when it is released.
    public func subscribe(to session: SessionID) -> ProgressSubscription {
        state.withLock { state in
            let watcher = ProgressWatcher(session: session, id: state.machine.subscribe(to: session))
            state.mailboxes[watcher.id] = watcher
            if state.isClosed { watcher.post { $0.isClosing = true } }
            return ProgressSubscription(hub: self, watcher: watcher)
        }
    }

    fileprivate func begin(_ watcher: ProgressWatcher, at version: Int64) {
        let pauses = state.withLock { $0.machine.begin(watcher.id, at: version) }
        wanted.continuation.yield()
        if pauses { readAfterPause(watcher.session) }
    }

    fileprivate func unsubscribe(_ watcher: ProgressWatcher) {
        state.withLock { state in
            state.machine.unsubscribe(watcher.id)
            state.mailboxes[watcher.id] = nil
        }
    }

    /// Takes in what a ``ChangeSource`` tells.
    public func receive(_ event: ChangeEvent) {
        let isReadWanted = state.withLock { state in
            switch event {
            case .hints(let hints):
                hints.reduce(into: false) { wanted, hint in
                    // A deleted session is announced as version 0, which no reading will ever reach.
                    let version = hint.version == 0 ? Int64.max : hint.version
                    if state.machine.hint(hint.session, version: version) { wanted = true }
                }
            case .resync, .rightsChanged:
                markAllStale(&state)
            case .workWaiting, .degraded:
                false
            }
        }
        if isReadWanted { wanted.continuation.yield() }
    }

    /// Runs until the service group shuts down; then tells every watcher that the server closes.
    public func run() async throws {
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                group.addTask { await self.readWhenWanted() }
                group.addTask { await self.poll() }
                group.addTask { await self.readAgainAfterPauses() }
            }
        }
        close()
    }

    private func markAllStale(_ state: inout State) -> Bool {
        state.machine.markAllStale()
        return true
    }

    private func close() {
        let watchers = state.withLock { state in
            state.isClosed = true
            return Array(state.mailboxes.values)
        }
        for watcher in watchers { watcher.post { $0.isClosing = true } }
    }
}

/// A watcher's place in the hub, for as long as it is held.
public final class ProgressSubscription: Sendable {
    /// Where the news arrives.
    public let watcher: ProgressWatcher
    private let hub: ProgressHub

    fileprivate init(hub: ProgressHub, watcher: ProgressWatcher) {
        self.hub = hub
        self.watcher = watcher
    }

    deinit { hub.unsubscribe(watcher) }

    /// Says which version the watcher begins with: from there on it gets what is newer.
    public func begin(at version: Int64) { hub.begin(watcher, at: version) }
}

// MARK: - Reading

extension ProgressHub {
    private func poll() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: pollInterval)
            state.withLock { $0.machine.markAllStale() }
            wanted.continuation.yield()
        }
    }

    private func readAgainAfterPauses() async {
        for await (time, session) in pauses.stream {
            try? await Task.sleep(until: time, clock: .continuous)
            let isFollowed = state.withLock { $0.machine.pauseEnded(session) }
            wanted.continuation.yield()
            if isFollowed { readAfterPause(session) }
        }
    }

    private func readAfterPause(_ session: SessionID) {
        pauses.continuation.yield((.now.advanced(by: Self.pauseAfterNews), session))
    }

    private func readWhenWanted() async {
        var backoff = Backoff()
        for await _ in wanted.stream {
            while let read = state.withLock({ $0.machine.nextRead() }) {
                do {
                    deliver(try await reader.read(after: read.sessions))
                    backoff.reset()
                } catch {
                    failed(error)
                    // The poll asks again in any case; this is for a poll that was set to be slow.
                    try? await Task.sleep(for: backoff.next())
                    if Task.isCancelled { return }
                }
            }
        }
    }

    private func deliver(_ result: ProgressReadings) {
        var posts: [(ProgressWatcher, (inout WatcherNews) -> Void)] = []
        let (deliveries, pauses) = state.withLock { state in
            let outcome = state.machine.completed(result.readings, existing: result.existing)
            if state.rightsEpoch != result.rightsEpoch {
                state.rightsEpoch = result.rightsEpoch
                for watcher in state.mailboxes.values {
                    posts.append((watcher, { $0.rightsEpoch = result.rightsEpoch }))
                }
            }
            if state.isDegraded {
                state.isDegraded = false
                for watcher in state.mailboxes.values { posts.append((watcher, { $0.degraded = false })) }
            }
            for watcher in outcome.gone.compactMap({ state.mailboxes[$0] }) {
                posts.append((watcher, { $0.isGone = true }))
            }
            let deliveries = outcome.deliveries.compactMap { delivery in
                state.mailboxes[delivery.watcher].map { ($0, delivery.reading, delivery.after) }
            }
            return (deliveries, outcome.readAfterPause)
        }
        // Rights first: a reader that finds news finds the changed epoch with it.
        for (watcher, change) in posts { watcher.post(change) }
        for (watcher, reading, given) in deliveries { watcher.post(reading, after: given) }
        for session in pauses { readAfterPause(session) }
    }

    private func failed(_ error: any Error) {
        let watchers = state.withLock { state in
            state.machine.failed()
            guard !state.isDegraded else { return [ProgressWatcher]() }
            state.isDegraded = true
            return Array(state.mailboxes.values)
        }
        logger.warning("cannot read progress from the database", metadata: ["error": "\(error)"])
        for watcher in watchers { watcher.post { $0.degraded = true } }
    }
}

/// Delays between two tries: doubled from 100 ms up to 2 s, less up to half at random, so that many who fail together do
/// not come back together.
struct Backoff {
    private var delay = Duration.milliseconds(100)

    mutating func reset() { delay = .milliseconds(100) }

    mutating func next() -> Duration {
        defer { delay = min(delay * 2, .seconds(2)) }
        return delay * Double.random(in: 0.5...1)
    }
}
