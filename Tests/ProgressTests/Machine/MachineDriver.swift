import Domain
import Store

@testable import Progress

/// Drives a state machine with one event at a time, as the hub's actor does, by a clock of its own.
///
/// It is a class because `#expect` takes no mutating call.
class MachineDriver {
    private(set) var value: HubStateMachine
    private(set) var now = ContinuousClock.now

    init(readLimit: Int = 500, admission: StreamAdmission = .unlimited, knowsRights: Bool = true) {
        // Each subscription has a read of its own, which begins at once. A test can complete the reads in any order.
        value = HubStateMachine(
            admission: admission,
            limits: PendingSubscriptions.Limits(batch: 1, statements: .max, caseloads: .max), readLimit: readLimit,
            pollInterval: .seconds(3600))
        guard knowsRights else { return }
        // The hub reads where the log of rights begins before the first watcher comes.
        _ = nextRead(.rights)
        learn(.epoch(1, at: snapshot(3)))
    }

    /// A read of the log of rights succeeds.
    func learn(_ news: RightsNews) { _ = completed(.rights(news)) }

    /// The result of one event.
    struct Outcome {
        var deliveries: [Delivery] = []
        /// The states for local subscribers.
        var updates: [(subscriber: WatcherID, progress: SessionProgress)] = []
        /// The local subscribers that end.
        var finished: [WatcherID] = []
        var answers: [PendingSubscriptions.Outcome] = []
        var foundByPoll = 0
        /// The sessions whose pauses begin.
        var pauses: [SessionID] = []
        /// The changes that the metrics count.
        var shown: [ShownChange] = []
        /// The durations of resyncs.
        var resyncs: [Duration] = []
    }

    @discardableResult
    func run(_ event: (inout HubStateMachine, ContinuousClock.Instant) -> [HubAction]) -> Outcome {
        now += .milliseconds(1)
        var outcome = Outcome()
        for action in event(&value, now) {
            switch action {
            case .deliver(let delivery): outcome.deliveries.append(delivery)
            case .update(let id, let progress): outcome.updates.append((id, progress))
            case .finish(let id): outcome.finished.append(id)
            case .answer(_, let answer): outcome.answers.append(answer)
            case .foundByPoll(let count): outcome.foundByPoll += count
            case .shown(let change): outcome.shown.append(change)
            case .resynced(let duration): outcome.resyncs.append(duration)
            }
        }
        outcome.pauses = value.pauses.sessions.filter { $0.due == now + Pauses.length }.map(\.session)
        return outcome
    }

    /// Gives the machine an event without actions.
    func handle(_ event: (inout HubStateMachine) -> Void) {
        run { machine, _ in
            event(&machine)
            return []
        }
    }

    func completed(_ answer: HubAnswer) -> Outcome { run { $0.completed(answer, at: $1) } }

    /// A read is cancelled: its work stays wanted, and no watcher gets `degraded`.
    func failed(_ read: HubRead) {
        run { $0.failed(read, CancellationError(), isCancelled: true, jitter: 0, at: $1) }
    }

    func nextRead(_ source: HubRead.Source) -> HubRead? { value.nextRead(source) }

    // MARK: Watchers

    @discardableResult
    func ready(_ id: WatcherID) -> Delivery? { run { machine, _ in machine.unblocked(id) }.deliveries.first }

    @discardableResult
    func note(_ exception: DeliveryException, of id: WatcherID, in delivery: Delivery) -> Delivery? {
        run { machine, _ in machine.delivered(delivery, [(id, exception)]) }.deliveries.first
    }

    func hint(_ session: SessionID, _ version: Int64) {
        run { machine, now in
            machine.hint(session, version: version, at: now)
            return []
        }
    }

    func resync() {
        run { machine, now in
            machine.resync(at: now)
            return []
        }
    }

    /// Moves the clock to the end of the oldest pause of a session, and returns whether another pause begins.
    func pauseEnded(_ session: SessionID) -> Bool {
        guard let pause = value.pauses.sessions.first(where: { $0.session == session }) else { return false }
        now = max(now, pause.due)
        value.timeIs(now)
        return value.pauses.sessions.contains { $0.session == session && $0.due == now + Pauses.length }
    }

    /// Moves the clock.
    func advance(by duration: Duration) {
        now += duration
        value.timeIs(now)
    }
}

/// The state that tests check.
extension HubStateMachine {
    var watchedSessions: [SessionID] { Array(watchers.table.index.sessions) }
    var begunCount: Int { watchers.table.begunCount }
    var admission: StreamAdmission { watchers.admission }
    var isDegraded: Bool { watchers.outage.isDegraded }

    func session(of id: WatcherID) -> SessionID? { watchers.table.session(of: id) }
    func isLocal(_ id: WatcherID) -> Bool { watchers.table.state(of: id).isLocal }

    /// Whether the release of its ``Watch`` does not end a watcher, because it has a socket or has left.
    func isAttached(_ id: WatcherID) -> Bool {
        switch watchers.table.state(of: id) {
        case .authorizing, .detached: false
        case .free, .ready, .blocked, .ended, .local: true
        }
    }
}
