import Domain
import Store
import Testing

@testable import Progress

/// Drives a state machine with watchers of one session each.
final class Machine: MachineDriver {
    private var pending: [WatcherID: PendingSubscription] = [:]
    private var snapshots: Int64 = 0

    // MARK: Watchers

    /// Registers a watcher whose snapshot is being read.
    func register(_ session: SessionID, for principal: Principal = .random()) -> WatcherID {
        var id: WatcherID?
        handle { id = $0.subscribe(AuthorizationRequest(session, for: principal)) }
        if case .subscriptions(.sessions(let begun))? = nextRead(.subscriptions(.sessions)) {
            for subscription in begun { pending[subscription.watcher] = subscription }
        }
        guard let id, pending[id] != nil else {
            Issue.record("no read begins for a subscription")
            return WatcherID(slot: .max, generation: .max)
        }
        return id
    }

    /// The result of a subscription.
    enum Beginning: Equatable {
        /// The watcher has begun, and a pause of its session has begun or not.
        case begun(pauses: Bool)
        case rejected
    }

    /// The read of a watcher's snapshot succeeds.
    @discardableResult
    func begin(_ watcher: WatcherID, at version: Int64) -> Beginning {
        let subscription =
            pending[watcher]
            ?? PendingSubscription(watcher: watcher, request: AuthorizationRequest(.random(), for: .random()))
        let authorization = SessionAuthorization(
            verdict: FakeReader.permitted, progress: sample(subscription.request.session, version: version))
        let outcome = completed(.subscriptions(.sessions([subscription], [authorization])))
        if case .session(_, isWatched: true)? = outcome.answers.first { return .begun(pauses: !outcome.pauses.isEmpty) }
        return .rejected
    }

    /// A watcher that has begun, and has a socket with room.
    func watcher(
        of session: SessionID, at version: Int64 = 1, for principal: Principal = .random()
    ) -> WatcherID {
        let watcher = unattached(of: session, at: version, for: principal)
        ready(watcher)
        return watcher
    }

    /// A watcher that has begun, and has no socket yet.
    func unattached(
        of session: SessionID, at version: Int64 = 1, for principal: Principal = .random()
    ) -> WatcherID {
        let watcher = register(session, for: principal)
        begin(watcher, at: version)
        return watcher
    }

    func isCurrent(_ watcher: WatcherID) -> Bool { value.isCurrent(watcher) }

    func attachWithoutSnapshot(_ watcher: WatcherID, clientHas version: Int64) {
        run { machine, _ in machine.attachedWithoutSnapshot(watcher, clientHas: version) }
    }

    func subscribeLocally(to session: SessionID) -> WatcherID {
        var id = WatcherID(slot: .max, generation: .max)
        handle { id = $0.subscribeLocally(to: session) }
        return id
    }

    @discardableResult
    func end(_ watcher: WatcherID) -> Bool {
        var ends = false
        handle { ends = $0.ended(watcher) }
        return ends
    }

    /// A watcher leaves.
    ///
    /// If its snapshot is still being read, the hub refuses it.
    func release(_ watcher: WatcherID) {
        guard case .authorizing = value.watchers.table.state(of: watcher), let subscription = pending[watcher] else {
            return handle { $0.closed(watcher) }
        }
        let refusal = SessionAuthorization(verdict: .noSession, progress: nil)
        _ = completed(.subscriptions(.sessions([subscription], [refusal])))
    }

    func isAttached(_ watcher: WatcherID) -> Bool { value.isAttached(watcher) }

    // MARK: Reads of sessions

    /// The hub polls, and something was committed since the last poll.
    ///
    /// - Parameter versions: The hints that were sent since; nil if they are not known.
    /// - Returns: The number of changes that only the poll before has found.
    @discardableResult
    func poll(_ versions: [SessionID: Int64]? = nil) -> Int {
        snapshots += 1
        // The transactions of the later epochs are still in progress.
        let present = snapshot(1000 + snapshots, 10, 11, 12)
        let news = HintNews(rights: .epoch(1, at: present), versions: versions)
        return completed(.poll(news)).foundByPoll
    }

    func rightsChanged() { handle { $0.rightsChanged() } }

    /// A read of the log of rights shows an epoch.
    func learn(epoch: Int64) { learn(.epoch(epoch)) }

    @discardableResult
    func nextReading(_ lane: SessionReads.Lane = .hints) -> SessionRead? {
        guard case .sessions(_, var read)? = nextRead(.sessions(lane)) else { return nil }
        // Tests compare the sessions and versions.
        read.rightsSince = nil
        return read
    }

    @discardableResult
    func completed(
        _ news: [SessionReading] = [], missing: [SessionID] = [], epoch: Int64 = 1, _ lane: SessionReads.Lane = .hints
    ) -> Outcome {
        completed(.sessions(lane, SessionReadAnswer(news: news, missing: missing, rights: .epoch(epoch))))
    }

    func failed(_ lane: SessionReads.Lane = .hints) { failed(.sessions(lane, SessionRead())) }

    /// A hint comes, and the reading that it causes succeeds.
    @discardableResult
    func pass(_ news: SessionReading, epoch: Int64 = 1) -> Outcome {
        hint(news.progress.sessionID, news.progress.version)
        nextReading()
        return completed([news], epoch: epoch)
    }

    /// Completes all readings that a lane wants, without news.
    func settle(_ lane: SessionReads.Lane = .hints, epoch: Int64 = 1) {
        while nextReading(lane) != nil { completed(epoch: epoch, lane) }
    }

    // MARK: Catch-ups and rights

    func nextCatchUp() -> [WatcherRequest]? {
        guard case .watchers(.catchUp(let requests))? = nextRead(.watchers(.catchUps)) else { return nil }
        return requests
    }

    func completedCatchUp(_ answers: [SessionReading?]) -> [Delivery] {
        completed(.watchers(.catchUp(answers.map { $0.map(CatchUpAnswer.reading) ?? .refused }))).deliveries
    }

    func failedCatchUp() { failed(.watchers(.catchUp([]))) }

    func checkRights(share: Double) { handle { $0.regularCheckIsDue(share: share) } }

    func nextSweep() -> [WatcherRequest]? {
        guard case .watchers(.sweep(let requests))? = nextRead(.watchers(.sweep)) else { return nil }
        return requests
    }

    func completedSweep(lost: Set<Int> = []) -> [Delivery] {
        completed(.watchers(.sweep(lost: lost))).deliveries
    }

    func failedSweep() { failed(.watchers(.sweep([]))) }

    // MARK: Outages

    /// A read fails, and the hub may read again at once.
    func degraded() -> Delivery? {
        let delivery = run {
            $0.failed(
                .poll(hintsSince: nil, rightsSince: nil), FakeReader.Down(), isCancelled: false, jitter: 0, at: $1)
        }.deliveries.first
        advance(by: .zero)
        return delivery
    }

    /// A read succeeds, and finds nothing that a watcher waits for.
    func recovered() -> Delivery? { completed(.watchers(.sweep(lost: []))).deliveries.first }
}

extension Principal {
    static func random() -> Principal { Principal(user: .random(), signIn: .random()) }
}

/// The message that brings watchers from a version to a newer one.
func news(
    _ session: SessionID, _ version: Int64, after transitions: [Int64] = [], to watchers: [WatcherID],
    previousVersion: Int64
) -> Delivery {
    Delivery(
        .state(sample(session, version: version), after: transitions.map { transition($0) }), to: watchers,
        previousVersion: previousVersion)
}
