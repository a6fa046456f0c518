import DequeModule
import Domain
import Postgres
import Store

/// Decides which reports one statement writes, and when.
///
/// A request goes at once while no statement runs. Requests that arrive while one runs wait in line, and go together
/// when it ends: the busier the database is, the more reports share a commit. Requests are never divided. The reports of
/// one request are written in one transaction or not at all, in their order. This is only a value: ``ReportBatcher``
/// performs its actions.
struct ReportGathering {
    /// How much the batcher gathers.
    struct Limits {
        /// The maximum number of reports in one statement, and also in one request.
        var batch = 1000
        /// The maximum number of waiting reports.
        ///
        /// A request beyond it is rejected.
        var waiting = 20_000
        /// How many statements may run at the same time.
        var statements = 1
    }

    /// The reports that one caller sends together.
    struct Request: Equatable {
        let id: Int
        let reports: [CallerReport]
    }

    /// The requests that one statement writes.
    struct Batch: Equatable {
        /// How the statement handles locks, which depends on earlier tries.
        enum Turn: Equatable {
            /// Waits for locks. Goes on to ``again`` or ``withoutWaiting``.
            case first
            /// The database ended the first try in favour of another transaction. Goes on to ``withoutWaiting``.
            case again
            /// A lock was not free in time, now or a short while ago. The statement refuses locked sessions. This is
            /// the last try.
            case withoutWaiting
        }

        var requests: [Request]
        var turn = Turn.first

        /// True if the statement waits for locks.
        var waits: Bool { turn != .withoutWaiting }

        /// The reports of all requests, one request after the other.
        var reports: [CallerReport] { requests.flatMap(\.reports) }
    }

    /// Why a statement failed.
    enum Failure: CaseIterable {
        /// The database ended the statement in favour of another transaction. The statement may run again.
        case conflict
        /// A lock was not free in time.
        case locked
        /// The database does not accept a value. One request has spoilt the statement for the others.
        case badValue
        /// Any other error. Another try would not help.
        case other
    }

    /// What the batcher does next.
    enum Action: Equatable {
        case nothing
        /// Write this batch.
        case write(Batch)
    }

    private let limits: Limits
    private var waiting: Deque<Request> = []
    /// How many reports wait.
    private(set) var waitingReports = 0
    /// Batches of failed statements that run again, before anything else.
    private var repeated: Deque<Batch> = []
    private var underWay = 0
    /// Sessions that another transaction holds for a long time, until one of their reports succeeds.
    ///
    /// Reports of these sessions wait for no lock. Otherwise each of them would make all other reports wait.
    private var held: Set<SessionID> = []

    init(limits: Limits = Limits()) { self.limits = limits }

    /// Adds a request to the line.
    ///
    /// - Returns: The next action; nil if too many reports already wait.
    mutating func submit(_ request: Request) -> Action? {
        guard waitingReports + request.reports.count <= limits.waiting else { return nil }
        waiting.append(request)
        waitingReports += request.reports.count
        // A statement that runs will trigger the next one when it ends. Another one begins beside it only when it is full.
        guard underWay == 0 || waitingReports >= limits.batch else { return .nothing }
        return next().map(Action.write) ?? .nothing
    }

    /// Records that a statement was written, with an outcome for each report.
    ///
    /// The reports gathered meanwhile go at once.
    mutating func wrote(_ batch: Batch, _ outcomes: [ReportOutcome]) -> Action {
        underWay -= 1
        if !batch.waits || !held.isEmpty {
            for (report, outcome) in zip(batch.reports, outcomes) {
                if case .refused(.database(.lockNotAvailable, _, _)) = outcome {
                    held.insert(report.report.sessionID)
                } else {
                    held.remove(report.report.sessionID)
                }
            }
        }
        return next().map(Action.write) ?? .nothing
    }

    /// Records that a statement failed and wrote nothing.
    ///
    /// - Returns: Whether its requests are over, or else run again; and the next action.
    mutating func failed(_ batch: Batch, _ failure: Failure) -> (isOver: Bool, action: Action) {
        underWay -= 1
        let repeats = Self.repeats(batch, failure)
        repeated.append(contentsOf: repeats)
        return (repeats.isEmpty, next().map(Action.write) ?? .nothing)
    }

    /// Removes a request that its caller no longer waits for, unless the database already has it.
    mutating func cancel(_ id: Int) {
        guard let index = waiting.firstIndex(where: { $0.id == id }) else { return }
        waitingReports -= waiting[index].reports.count
        waiting.remove(at: index)
    }

    private static func repeats(_ batch: Batch, _ failure: Failure) -> [Batch] {
        switch (failure, batch.turn) {
        case (.conflict, .first): [Batch(requests: batch.requests, turn: .again)]
        case (.conflict, .again), (.locked, .first), (.locked, .again):
            [Batch(requests: batch.requests, turn: .withoutWaiting)]
        case (.badValue, _) where batch.requests.count > 1:
            batch.requests.map { Batch(requests: [$0], turn: batch.turn) }
        case (.badValue, _), (.conflict, .withoutWaiting), (.locked, .withoutWaiting), (.other, _): []
        }
    }

    private mutating func next() -> Batch? {
        guard underWay < limits.statements else { return nil }
        if let batch = repeated.popFirst() {
            underWay += 1
            return batch
        }
        guard let first = waiting.first else { return nil }
        let turn = turn(of: first)
        var requests: [Request] = []
        var count = 0
        while let request = waiting.first,
            requests.isEmpty || count + request.reports.count <= limits.batch && self.turn(of: request) == turn
        {
            requests.append(waiting.removeFirst())
            count += request.reports.count
        }
        waitingReports -= count
        underWay += 1
        return Batch(requests: requests, turn: turn)
    }

    private func turn(of request: Request) -> Batch.Turn {
        guard !held.isEmpty else { return .first }
        return request.reports.contains { held.contains($0.report.sessionID) } ? .withoutWaiting : .first
    }
}
