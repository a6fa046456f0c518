import DequeModule
import Domain
import Store

/// The subscriptions that wait for authorization and a snapshot: their queues, and the limits of these.
///
/// The hub registers a watcher before it reads the snapshot, and therefore misses no change between the two. Subscriptions
/// that arrive during a statement share the next one.
struct PendingSubscriptions {
    /// What the end of a wait leads to.
    enum Action {
        /// The caller gets an answer, and no stream begins.
        case answer(WatcherID, Outcome)
        /// The stream of one session begins, if the limits of streams allow it.
        case begin(PendingSubscription, SessionAuthorization)
        /// The stream of all sessions begins, if the limits of streams allow it.
        ///
        /// The changes are what the client has missed; nil if it cannot resume from its position, or has none.
        case beginCaseload(PendingCaseloadSubscription, Caseload, MissedChanges?)
    }

    /// The answer to a caller that has waited.
    enum Outcome {
        /// The stream of one session begins with this state. If it isn't watched, nothing newer follows.
        case session(SessionAuthorization, isWatched: Bool)
        /// The stream of all sessions begins with these events.
        case caseload([CaseloadEvent], before: FeedPosition?, after: FeedPosition)
        /// The user has no right.
        case refused(SessionAuthorization.Verdict)
        /// A limit is reached, or the server stops.
        case rejected(Rejection)
        /// The read failed.
        case failed(any Error)
    }

    /// The two queues.
    enum Lane: CaseIterable, Sendable {
        /// Streams of one session: one statement reads for many.
        case sessions
        /// Streams of all sessions: one read for each.
        case caseloads
    }

    /// The limits of both queues.
    struct Limits {
        /// The largest number of subscriptions that wait in one lane.
        var waiting = 20_000
        /// The largest number of streams of one session in one statement.
        ///
        /// A statement costs the same for one stream as for a hundred, apart from their rows. After a restart the next
        /// statement therefore takes all that wait. The bound keeps the rows of one statement from filling the memory.
        var batch = 2000
        /// The largest number of statements under way for streams of one session.
        var statements = 2
        /// The largest number of caseloads that are read at a time.
        var caseloads = 2
    }

    /// The subscriptions that wait in one lane, and the number of its reads under way.
    private struct Queue<Subscription> {
        var waiting: Deque<Subscription> = []
        var readsUnderWay = 0

        /// Begins a read, and removes its subscriptions from the queue.
        ///
        /// - Parameters:
        ///   - count: The largest number of subscriptions in the read.
        ///   - readsAtATime: The largest number of reads under way.
        /// - Returns: The subscriptions; empty, and no read begins, if the queue is empty or enough reads are under way.
        mutating func next(_ count: Int, readsAtATime: Int) -> [Subscription] {
            guard readsUnderWay < readsAtATime, !waiting.isEmpty else { return [] }
            let next = Array(waiting.prefix(count))
            waiting.removeFirst(next.count)
            // Free the memory after a burst.
            if waiting.isEmpty { waiting = [] }
            readsUnderWay += 1
            return next
        }
    }

    private let limits: Limits
    private var sessions = Queue<PendingSubscription>()
    private var caseloads = Queue<PendingCaseloadSubscription>()
    /// The server stops, and rejects every subscription.
    private(set) var isClosed = false

    init(limits: Limits = Limits()) { self.limits = limits }

    /// The number of subscriptions that wait in a lane.
    func waiting(_ lane: Lane) -> Int {
        switch lane {
        case .sessions: sessions.waiting.count
        case .caseloads: caseloads.waiting.count
        }
    }

    /// The reason for which the hub rejects a subscription now.
    var rejection: Rejection { isClosed ? .closing : .tooMany }

    // MARK: - Waiting

    /// Whether one more subscription may wait in a lane.
    func hasRoom(in lane: Lane) -> Bool { !isClosed && waiting(lane) < limits.waiting }

    mutating func append(_ subscription: PendingSubscription) { sessions.waiting.append(subscription) }
    mutating func append(_ subscription: PendingCaseloadSubscription) { caseloads.waiting.append(subscription) }

    /// Reads the caseload of a subscription again, before that of any other.
    mutating func readAgain(_ subscription: PendingCaseloadSubscription) { caseloads.waiting.prepend(subscription) }

    /// The server stops: every subscription that waits is rejected.
    mutating func close() -> [Action] {
        isClosed = true
        defer { (sessions.waiting, caseloads.waiting) = ([], []) }
        return reject(sessions.waiting.map(\.watcher) + caseloads.waiting.map(\.watcher))
    }

    private func reject(_ watchers: [WatcherID]) -> [Action] { watchers.map { .answer($0, .rejected(rejection)) } }

    // MARK: - Reading

    /// The next read of a lane; nil if the queue is empty or enough reads are under way.
    mutating func nextRead(_ lane: Lane) -> SubscriptionRead? {
        switch lane {
        case .sessions:
            let next = sessions.next(limits.batch, readsAtATime: limits.statements)
            return next.isEmpty ? nil : .sessions(next)
        case .caseloads:
            return caseloads.next(1, readsAtATime: limits.caseloads).first.map(SubscriptionRead.caseload)
        }
    }

    /// A read succeeded.
    mutating func completed(_ answer: SubscriptionReadAnswer) -> [Action] {
        switch answer {
        case .sessions(let subscriptions, let authorizations):
            sessions.readsUnderWay -= 1
            return zip(subscriptions, authorizations).map { action(for: $0, $1) }
        case .caseload(let subscription, let caseload, let missed):
            caseloads.readsUnderWay -= 1
            if caseload.refusal == .unreadable {
                return [.answer(subscription.watcher, .failed(UnreadableRow(.role)))]
            }
            if let refusal = caseload.refusal { return [.answer(subscription.watcher, .refused(refusal))] }
            guard !isClosed else { return reject([subscription.watcher]) }
            return [.beginCaseload(subscription, caseload, missed)]
        }
    }

    private func action(for subscription: PendingSubscription, _ authorization: SessionAuthorization) -> Action {
        let outcome: Outcome
        if authorization.verdict == .unreadable {
            outcome = .failed(UnreadableRow(.role))
        } else if !authorization.permits(.see) {
            outcome = .refused(authorization.verdict)
        } else if let progress = authorization.progress {
            guard isClosed || progress.status.isFinished else { return .begin(subscription, authorization) }
            outcome = isClosed ? .rejected(rejection) : .session(authorization, isWatched: false)
        } else {
            outcome = .failed(UnreadableRow(.status))
        }
        return .answer(subscription.watcher, outcome)
    }

    /// A read failed: its callers get the error, or a rejection if the stop of the server cancelled the read.
    mutating func failed(_ read: SubscriptionRead, _ error: any Error, isCancelled: Bool) -> [Action] {
        guard !isCancelled else { return couldNotBegin(read) }
        readEnded(read)
        return read.watchers.map { .answer($0, .failed(error)) }
    }

    /// A read could not begin because the server stops: its callers are rejected.
    mutating func couldNotBegin(_ read: SubscriptionRead) -> [Action] {
        readEnded(read)
        return reject(read.watchers)
    }

    private mutating func readEnded(_ read: SubscriptionRead) {
        switch read {
        case .sessions: sessions.readsUnderWay -= 1
        case .caseload: caseloads.readsUnderWay -= 1
        }
    }
}
