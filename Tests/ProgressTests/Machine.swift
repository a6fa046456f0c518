import Domain

@testable import Progress

/// The machine by reference: `#expect` takes no mutating call.
final class Machine {
    private(set) var value: HubStateMachine

    init(readLimit: Int = 500, admission: StreamAdmission = .unlimited) {
        value = HubStateMachine(readLimit: readLimit, admission: admission)
    }

    // MARK: Watchers

    func register(_ session: SessionID, for principal: Principal = .random()) -> WatcherID {
        value.register(session, for: principal)
    }

    @discardableResult
    func begin(_ watcher: WatcherID, at version: Int64, epoch: Int64 = 1) -> HubStateMachine.Beginning {
        value.begin(watcher, at: version, epoch: epoch)
    }

    @discardableResult
    func ready(_ watcher: WatcherID) -> Delivery? { value.ready(watcher) }

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
    func withhold(_ watcher: WatcherID, given version: Int64) { value.withhold(watcher, given: version) }

    func listen(to session: SessionID) -> WatcherID { value.listen(to: session) }
    @discardableResult
    func note(_ exception: DeliveryException, of watcher: WatcherID, in delivery: Delivery) -> Delivery? {
        value.note(exception, of: watcher, in: delivery)
    }
    @discardableResult
    func end(_ watcher: WatcherID) -> Bool { value.end(watcher) }
    func release(_ watcher: WatcherID) { value.release(watcher) }
    func isAttached(_ watcher: WatcherID) -> Bool { value.isAttached(watcher) }

    // MARK: Reading

    func hint(_ session: SessionID, _ version: Int64) { value.hint(session, version: version) }
    func resync() { value.resync() }
    @discardableResult
    func poll() -> Int { value.poll() }
    func rightsChanged() { value.rightsChanged() }
    func pauseEnded(_ session: SessionID) -> Bool { value.pauseEnded(session) }

    @discardableResult
    func nextReading(_ lane: HubStateMachine.Lane = .hints) -> Reading? { value.nextReading(lane) }

    @discardableResult
    func completed(
        _ news: [SessionReading] = [], missing: [SessionID] = [], epoch: Int64 = 1,
        _ lane: HubStateMachine.Lane = .hints
    ) -> HubStateMachine.Outcome {
        value.completed(lane, news, missing: missing, epoch: epoch)
    }

    func failed(_ lane: HubStateMachine.Lane = .hints) { value.failed(lane) }

    /// A hint, the reading that it causes, and its answer.
    @discardableResult
    func pass(_ news: SessionReading, epoch: Int64 = 1) -> HubStateMachine.Outcome {
        hint(news.progress.sessionID, news.progress.version)
        nextReading()
        return completed([news], epoch: epoch)
    }

    /// Reads everything that is wanted in a lane, and finds nothing new.
    func settle(_ lane: HubStateMachine.Lane = .hints, epoch: Int64 = 1) {
        while nextReading(lane) != nil { completed(epoch: epoch, lane) }
    }

    // MARK: Catching up and rights

    func nextCatchUp() -> [CatchUpRequest]? { value.nextCatchUp() }
    func completedCatchUp(_ answers: [SessionReading?], epoch: Int64 = 1) -> [Delivery] {
        value.completedCatchUp(answers.map { $0.map(CatchUpAnswer.reading) ?? .refused }, epoch: epoch)
    }
    func failedCatchUp() { value.failedCatchUp() }
    func checkRights(share: Double) { value.checkRights(share: share) }
    func nextSweep() -> [CatchUpRequest]? { value.nextSweep() }
    func completedSweep(lost: Set<Int> = [], epoch: Int64) -> [Delivery] {
        value.completedSweep(lost: lost, epoch: epoch)
    }
    func failedSweep() { value.failedSweep() }

    func degraded() -> Delivery? { value.degraded() }
    func recovered() -> Delivery? { value.recovered() }
}

extension Principal {
    static func random() -> Principal { Principal(user: .random(), signIn: .random()) }
}

/// The news of a session at a version, as watchers who had another are to get it.
func news(
    _ session: SessionID, _ version: Int64, after transitions: [Int64] = [], to watchers: [WatcherID], given: Int64
) -> Delivery {
    Delivery(
        .state(sample(session, version: version), after: transitions.map { transition($0) }), to: watchers, given: given
    )
}
