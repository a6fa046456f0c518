import DequeModule
import Domain
import Postgres
import Store

/// Which reports are written together, and when.
///
/// Requests wait in line and are never divided: what a caller sent together is written in one transaction or not at all,
/// and in its order. Only a value: ``ReportBatcher`` acts on what it decides.
struct ReportGathering {
    /// How much is gathered.
    struct Limits {
        /// The most reports in one statement; also the most in one request.
        var batch = 1000
        /// The most reports that wait; one request more is turned away.
        var waiting = 20_000
        /// How many statements may be under way at once.
        var statements = 1
    }

    /// What one caller reports together.
    struct Request: Equatable {
        let id: Int
        let reports: [CallerReport]
    }

    /// What is written in one statement.
    struct Batch: Equatable {
        /// How often this has been tried, and so what is tried now.
        enum Turn: Equatable {
            /// Waits for locks; goes on to ``again`` or ``withoutWaiting``.
            case first
            /// The database has ended the first in favour of another transaction; goes on to ``withoutWaiting``.
            case again
            /// A lock was waited for in vain, then or not long ago: what is locked is refused now. The last.
            case withoutWaiting
        }

        var requests: [Request]
        var turn = Turn.first

        /// Whether to wait for locks.
        var waits: Bool { turn != .withoutWaiting }

        /// The reports of all requests, one after the other.
        var reports: [CallerReport] { requests.flatMap(\.reports) }
    }

    /// Why a statement failed.
    enum Failure: CaseIterable {
        /// The database ended it in favour of another transaction, and it may be repeated.
        case conflict
        /// A lock was not to be had in time.
        case locked
        /// A value that the database does not take: one request has spoilt it for the others.
        case badValue
        /// Anything else; nothing can be done.
        case other
    }

    /// What is to be done.
    enum Action: Equatable {
        case nothing
        /// Wait for the time of gathering, then call ``pauseEnded()``.
        case pause
        /// Write this.
        case write(Batch)
    }

    private let limits: Limits
    private var waiting: Deque<Request> = []
    /// How many reports are in line.
    private(set) var waitingReports = 0
    /// Parts of statements that failed and are tried once more; before anything else.
    private var repeated: Deque<Batch> = []
    private var underWay = 0
    private var isPausing = false
    /// Sessions that another transaction was found to hold for long, until a report of theirs comes through.
    ///
    /// Their reports wait for no lock, or each would have everybody wait.
    private var held: Set<SessionID> = []

    init(limits: Limits = Limits()) { self.limits = limits }

    /// Takes a request in.
    ///
    /// - Returns: nil when too much waits already.
    mutating func submit(_ request: Request) -> Action? {
        guard waitingReports + request.reports.count <= limits.waiting else { return nil }
        waiting.append(request)
        waitingReports += request.reports.count
        if waitingReports >= limits.batch, let batch = next() { return .write(batch) }
        // While something is under way, its end is what is waited for.
        guard underWay == 0, !isPausing else { return .nothing }
        isPausing = true
        return .pause
    }

    /// The time of gathering is over.
    mutating func pauseEnded() -> Action {
        isPausing = false
        return next().map(Action.write) ?? .nothing
    }

    /// A statement was written, with an outcome for each of its reports: what has gathered meanwhile goes at once.
    mutating func wrote(_ batch: Batch, _ outcomes: [ReportOutcome]) -> Action {
        underWay -= 1
        if !batch.waits || !held.isEmpty {
            for (report, outcome) in zip(batch.reports, outcomes) {
                if case .refused(.database(.lockNotAvailable, _)) = outcome {
                    held.insert(report.report.sessionID)
                } else {
                    held.remove(report.report.sessionID)
                }
            }
        }
        return next().map(Action.write) ?? .nothing
    }

    /// A statement failed, and nothing of it was written.
    ///
    /// - Returns: Whether its requests are over; otherwise they are tried once more. And what is to be done.
    mutating func failed(_ batch: Batch, _ failure: Failure) -> (isOver: Bool, action: Action) {
        underWay -= 1
        let repeats = Self.repeats(batch, failure)
        repeated.append(contentsOf: repeats)
        return (repeats.isEmpty, next().map(Action.write) ?? .nothing)
    }

    /// Forgets a request that nobody waits for any more, unless it is with the database already.
    mutating func cancel(_ id: Int) {
        guard let place = waiting.firstIndex(where: { $0.id == id }) else { return }
        waitingReports -= waiting[place].reports.count
        waiting.remove(at: place)
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
