import DequeModule
import Domain
import Store

/// Who is let in: the queues of those who wait, the limits of both, and the places of those who are in.
///
/// A watcher is registered before its snapshot is read, so that a change between the two is not missed. All who come while a
/// statement is under way share the next one.
struct Openings {
    /// The end of a wait.
    enum Action {
        case answer(WatcherID, Result)
    }

    /// The answer to one that has waited.
    enum Result {
        /// The stream of one session begins with this state. Without a watch nothing newer comes.
        case session(SessionAuthorization, isWatched: Bool)
        /// The stream of all sessions begins with these events.
        case caseload([CaseloadEvent], before: FeedPosition?, after: FeedPosition)
        /// The user has no right.
        case refused(SessionAuthorization.Verdict)
        /// A limit is reached, or the server stops.
        case rejected(Rejection)
        /// The database cannot say.
        case failed(any Error)
    }

    /// Which queue a read serves.
    enum Lane: CaseIterable, Sendable {
        /// Streams of one session: many in one statement.
        case sessions
        /// Streams of all sessions: one in a read.
        case caseloads
    }

    /// How much of everything there may be.
    struct Limits {
        /// So many may wait in each lane.
        var waiting = 20_000
        /// So many streams of one session are let in by one statement.
        var batch = 250
        /// So many statements may be under way for streams of one session.
        var statements = 2
        /// So many caseloads are read at a time.
        var caseloads = 2
    }

    /// Those who wait in one lane, and how many reads are under way for others.
    private struct Queue<Opener> {
        var waiting: Deque<Opener> = []
        var readsUnderWay = 0

        /// The next openers; empty when nobody waits, or enough reads are under way.
        mutating func next(_ count: Int, readsAtATime: Int) -> [Opener] {
            guard readsUnderWay < readsAtATime, !waiting.isEmpty else { return [] }
            let next = Array(waiting.prefix(count))
            waiting.removeFirst(next.count)
            // After a burst the memory is not kept.
            if waiting.isEmpty { waiting = [] }
            readsUnderWay += 1
            return next
        }
    }

    private let limits: Limits
    private(set) var admission: StreamAdmission
    private var sessions = Queue<SessionOpener>()
    private var caseloads = Queue<CaseloadOpener>()
    /// The server stops: nobody is let in any more.
    private(set) var isClosed = false

    init(admission: StreamAdmission, limits: Limits = Limits()) {
        self.admission = admission
        self.limits = limits
    }

    /// How many wait in a lane.
    func waiting(_ lane: Lane) -> Int {
        switch lane {
        case .sessions: sessions.waiting.count
        case .caseloads: caseloads.waiting.count
        }
    }

    /// Why somebody is rejected now.
    var rejection: Rejection { isClosed ? .closing : .tooMany }

    // MARK: - Waiting

    /// Whether one more may wait in a lane.
    func mayWait(_ lane: Lane) -> Bool { !isClosed && waiting(lane) < limits.waiting }

    mutating func wait(_ opener: SessionOpener) { sessions.waiting.append(opener) }
    mutating func wait(_ opener: CaseloadOpener) { caseloads.waiting.append(opener) }
    /// Its caseload has to be read again.
    mutating func waitAgain(_ opener: CaseloadOpener) { caseloads.waiting.prepend(opener) }

    /// The server stops.
    ///
    /// - Returns: The watchers that wait, and are rejected.
    mutating func close() -> [WatcherID] {
        isClosed = true
        defer { (sessions.waiting, caseloads.waiting) = ([], []) }
        return sessions.waiting.map(\.watcher) + caseloads.waiting.map(\.watcher)
    }

    // MARK: - Reading

    /// The next read of a lane; nil when enough are under way or when nobody waits.
    mutating func nextRead(_ lane: Lane) -> OpeningRead? {
        switch lane {
        case .sessions:
            let next = sessions.next(limits.batch, readsAtATime: limits.statements)
            return next.isEmpty ? nil : .sessions(next)
        case .caseloads: return caseloads.next(1, readsAtATime: limits.caseloads).first.map(OpeningRead.caseload)
        }
    }

    /// A read came back, failed, or could not begin.
    mutating func readEnded(_ lane: Lane) {
        switch lane {
        case .sessions: sessions.readsUnderWay -= 1
        case .caseloads: caseloads.readsUnderWay -= 1
        }
    }

    /// What the answer to one opener says; nil when its stream is to begin.
    func decision(on opening: SessionAuthorization) -> Result? {
        guard opening.permits(.see) else { return .refused(opening.verdict) }
        guard let progress = opening.progress else { return .failed(UnreadableProgress()) }
        guard !isClosed else { return .rejected(rejection) }
        return progress.status.isFinished ? .session(opening, isWatched: false) : nil
    }

    // MARK: - Places

    /// Takes a place for one more stream; false when there is none.
    mutating func admit(_ user: UserID) -> Bool { admission.admit(user) }

    /// A stream is closed.
    mutating func leave(_ user: UserID) { admission.leave(user) }
}

extension OpeningRead {
    var lane: Openings.Lane {
        switch self {
        case .sessions: .sessions
        case .caseload: .caseloads
        }
    }
}

extension OpeningReadAnswer {
    var lane: Openings.Lane {
        switch self {
        case .sessions: .sessions
        case .caseload: .caseloads
        }
    }
}
