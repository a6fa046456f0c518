import Domain
import Store

@testable import Progress

/// Drives a machine by the events of its actor, one at a time, by a clock of its own.
///
/// The machine is held by reference, since `#expect` takes no mutating call.
class MachineDriver {
    private(set) var value: HubStateMachine
    private(set) var now = ContinuousClock.now

    init(readLimit: Int = 500, admission: StreamAdmission = .unlimited) {
        // Each opener is read for at once and alone, so that a test can answer them in any order.
        value = HubStateMachine(
            admission: admission, limits: Openings.Limits(batch: 1, statements: .max, caseloads: .max),
            readLimit: readLimit, pollInterval: .seconds(3600))
    }

    /// What one event led to.
    struct Outcome {
        var deliveries: [Delivery] = []
        /// States for local subscribers.
        var updates: [(subscriber: WatcherID, progress: SessionProgress)] = []
        /// Local subscribers that were ended.
        var finished: [WatcherID] = []
        var answers: [Openings.Result] = []
        var foundByPoll = 0
        /// The sessions whose pauses began.
        var pauses: [SessionID] = []
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
            case .answer(_, let result): outcome.answers.append(result)
            case .foundByPoll(let count): outcome.foundByPoll += count
            }
        }
        outcome.pauses = value.pauses.sessions.filter { $0.due == now + Pauses.length }.map(\.session)
        return outcome
    }

    func tell(_ event: (inout HubStateMachine) -> Void) {
        run { machine, _ in
            event(&machine)
            return []
        }
    }

    func completed(_ answer: HubAnswer) -> Outcome { run { $0.completed(answer, at: $1) } }

    /// A read was cut short, so that nobody is told of trouble.
    func failed(_ read: HubRead) {
        run { $0.failed(read, CancellationError(), isCutShort: true, jitter: 0, at: $1) }
    }

    func nextRead(_ source: HubRead.Source) -> HubRead? { value.nextRead(source) }

    // MARK: Watchers

    @discardableResult
    func ready(_ id: WatcherID) -> Delivery? { run { machine, _ in machine.unblocked(id) }.deliveries.first }

    @discardableResult
    func note(_ exception: DeliveryException, of id: WatcherID, in delivery: Delivery) -> Delivery? {
        run { machine, _ in machine.delivered(delivery, [(id, exception)]) }.deliveries.first
    }

    func hint(_ session: SessionID, _ version: Int64) { tell { $0.hint(session, version: version) } }

    /// Time goes on until the oldest pause of a session ends.
    ///
    /// - Returns: Whether another begins.
    func pauseEnded(_ session: SessionID) -> Bool {
        guard let pause = value.pauses.sessions.first(where: { $0.session == session }) else { return false }
        now = max(now, pause.due)
        value.timeIs(now)
        return value.pauses.sessions.contains { $0.session == session && $0.due == now + Pauses.length }
    }

    /// Time goes on by a duration.
    func advance(by duration: Duration) {
        now += duration
        value.timeIs(now)
    }
}

/// What tests look at.
extension HubStateMachine {
    var watchedSessions: [SessionID] { Array(table.index.sessions) }
    var begunCount: Int { table.begunCount }
    var admission: StreamAdmission { openings.admission }
    var epoch: Int64 { rights.epoch }
    var isDegraded: Bool { trouble.isDegraded }

    func session(of id: WatcherID) -> SessionID? { table.session(of: id) }
    func isLocal(_ id: WatcherID) -> Bool { table.state(of: id).isLocal }

    /// Whether the end of its opener does not end a watcher, because it has a socket or is gone.
    func isAttached(_ id: WatcherID) -> Bool {
        switch table.state(of: id) {
        case .opening, .detached: false
        case .free, .ready, .blocked, .ended, .local: true
        }
    }
}
