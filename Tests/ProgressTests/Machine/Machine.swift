import Domain
import Store
import Testing

@testable import Progress

/// Drives a machine for watchers of one session each.
final class Machine: MachineDriver {
    private var openers: [WatcherID: SessionOpener] = [:]
    private var snapshots = 0

    // MARK: Watchers

    /// A watcher whose snapshot is being read.
    func register(_ session: SessionID, for principal: Principal = .random()) -> WatcherID {
        var id: WatcherID?
        tell { id = $0.subscribe(AuthorizationRequest(session, for: principal)) }
        if case .openings(.sessions(let begun))? = nextRead(.openings(.sessions)) {
            for opener in begun { openers[opener.watcher] = opener }
        }
        guard let id, openers[id] != nil else {
            Issue.record("no read begins for an opener")
            return WatcherID(slot: .max, generation: .max)
        }
        return id
    }

    /// What comes of a snapshot.
    enum Beginning: Equatable {
        /// The watcher has begun, and its session is read again after a pause or not.
        case begun(pauses: Bool)
        case rejected
    }

    /// The snapshot of a watcher came back.
    @discardableResult
    func begin(_ watcher: WatcherID, at version: Int64, epoch: Int64 = 1) -> Beginning {
        let opener =
            openers[watcher]
            ?? SessionOpener(watcher: watcher, request: AuthorizationRequest(.random(), for: .random()))
        let opening = SessionAuthorization(
            verdict: FakeReader.admitted, progress: sample(opener.request.session, version: version),
            rightsEpoch: epoch)
        let outcome = completed(.openings(.sessions([opener], [opening])))
        if case .session(_, isWatched: true)? = outcome.answers.first { return .begun(pauses: !outcome.pauses.isEmpty) }
        return .rejected
    }

    /// A watcher that has been let in, and has a socket with room.
    func watcher(
        of session: SessionID, at version: Int64 = 1, epoch: Int64 = 1, for principal: Principal = .random()
    ) -> WatcherID {
        let watcher = unattached(of: session, at: version, epoch: epoch, for: principal)
        ready(watcher)
        return watcher
    }

    /// A watcher that has been let in, and has no socket yet.
    func unattached(
        of session: SessionID, at version: Int64 = 1, epoch: Int64 = 1, for principal: Principal = .random()
    ) -> WatcherID {
        let watcher = register(session, for: principal)
        begin(watcher, at: version, epoch: epoch)
        return watcher
    }

    func isCurrent(_ watcher: WatcherID) -> Bool { value.isCurrent(watcher) }

    func attachWithoutSnapshot(_ watcher: WatcherID, clientHas version: Int64) {
        run { machine, _ in machine.attachedWithoutSnapshot(watcher, clientHas: version) }
    }

    func subscribeLocally(to session: SessionID) -> WatcherID {
        var id = WatcherID(slot: .max, generation: .max)
        tell { id = $0.subscribeLocally(to: session) }
        return id
    }

    @discardableResult
    func end(_ watcher: WatcherID) -> Bool {
        var ends = false
        tell { ends = $0.ended(watcher) }
        return ends
    }

    /// A watcher is gone; one that is still opening is refused.
    func release(_ watcher: WatcherID) {
        guard case .opening = value.table.state(of: watcher), let opener = openers[watcher] else {
            return tell { $0.closed(watcher) }
        }
        let refusal = SessionAuthorization(verdict: .noSession, progress: nil, rightsEpoch: 0)
        _ = completed(.openings(.sessions([opener], [refusal])))
    }

    func isAttached(_ watcher: WatcherID) -> Bool { value.isAttached(watcher) }

    // MARK: Reading

    func resync() { tell { $0.resync() } }

    /// Something was committed since the last poll.
    @discardableResult
    func poll() -> Int {
        snapshots += 1
        return completed(.snapshot("\(snapshots)")).foundByPoll
    }

    func rightsChanged() { tell { $0.rightsChanged() } }

    @discardableResult
    func nextReading(_ lane: SessionReads.Lane = .hints) -> SessionRead? {
        guard case .sessions(_, let read)? = nextRead(.sessions(lane)) else { return nil }
        return read
    }

    @discardableResult
    func completed(
        _ news: [SessionReading] = [], missing: [SessionID] = [], epoch: Int64 = 1, _ lane: SessionReads.Lane = .hints
    ) -> Outcome {
        completed(.sessions(lane, SessionReadAnswer(news: news, missing: missing, epoch: epoch)))
    }

    func failed(_ lane: SessionReads.Lane = .hints) { failed(.sessions(lane, SessionRead())) }

    /// A hint, the reading that it causes, and its answer.
    @discardableResult
    func pass(_ news: SessionReading, epoch: Int64 = 1) -> Outcome {
        hint(news.progress.sessionID, news.progress.version)
        nextReading()
        return completed([news], epoch: epoch)
    }

    /// Reads everything that is wanted in a lane, and finds nothing new.
    func settle(_ lane: SessionReads.Lane = .hints, epoch: Int64 = 1) {
        while nextReading(lane) != nil { completed(epoch: epoch, lane) }
    }

    // MARK: Catching up and rights

    func nextCatchUp() -> [WatcherRequest]? {
        guard case .catchUp(let requests)? = nextRead(.catchUps) else { return nil }
        return requests
    }

    func completedCatchUp(_ answers: [SessionReading?], epoch: Int64 = 1) -> [Delivery] {
        completed(.catchUp(answers.map { $0.map(CatchUpAnswer.reading) ?? .refused }, epoch: epoch)).deliveries
    }

    func failedCatchUp() { failed(.catchUp([])) }

    func checkRights(share: Double) { tell { $0.regularCheckIsDue(share: share) } }

    func nextSweep() -> [WatcherRequest]? {
        guard case .sweep(let requests)? = nextRead(.rights) else { return nil }
        return requests
    }

    func completedSweep(lost: Set<Int> = [], epoch: Int64) -> [Delivery] {
        completed(.sweep(lost: lost, epoch: epoch)).deliveries
    }

    func failedSweep() { failed(.sweep([])) }

    // MARK: Trouble

    /// A read fails, and may be made again at once.
    func degraded() -> Delivery? {
        let delivery = run {
            $0.failed(.snapshot, FakeReader.Down(), isCutShort: false, jitter: 0, at: $1)
        }.deliveries.first
        advance(by: .zero)
        return delivery
    }

    /// A read works, and brings nothing that anybody waits for.
    func recovered() -> Delivery? { completed(.sweep(lost: [], epoch: 0)).deliveries.first }
}

extension Principal {
    static func random() -> Principal { Principal(user: .random(), signIn: .random()) }
}

/// The news of a session at a version, as watchers that had another are to get it.
func news(
    _ session: SessionID, _ version: Int64, after transitions: [Int64] = [], to watchers: [WatcherID], previous: Int64
) -> Delivery {
    Delivery(
        .state(sample(session, version: version), after: transitions.map { transition($0) }), to: watchers,
        previous: previous)
}
