import Domain
import Testing

@testable import Progress
@testable import Store

/// Drives a state machine with followers.
final class FollowerMachine: MachineDriver {
    private var pending: [WatcherID: PendingCaseloadSubscription] = [:]

    init() { super.init() }

    // MARK: Followers

    /// Registers a follower whose caseload is being read.
    func follow() throws -> WatcherID {
        var id: WatcherID?
        handle { id = $0.subscribeToAll(for: .random(), since: nil, requestID: nil) }
        beginRead()
        return try #require(id)
    }

    private func beginRead() {
        guard case .subscriptions(.caseload(let subscription))? = nextRead(.subscriptions(.caseloads)) else { return }
        pending[subscription.watcher] = subscription
    }

    /// The read of a caseload succeeds.
    private func read(_ caseload: Caseload, for id: WatcherID) throws -> [CaseloadEvent]? {
        let removed = pending.removeValue(forKey: id)
        let subscription = try #require(removed)
        let answers = completed(.subscriptions(.caseload(subscription, caseload, nil))).answers
        guard case .caseload(let events, _, _)? = answers.first else { return nil }
        return events
    }

    /// The read of a caseload that predates the feed succeeds, and the hub reads the caseload again.
    func readCaseload(of id: WatcherID) throws {
        guard predatesFeed(id) else { return }
        #expect(try read(Caseload(of: .random(), at: position(3)), for: id) == nil)
        beginRead()
    }

    func predatesFeed(_ id: WatcherID) -> Bool { value.watchers.followers.predatesFeed(id) }

    @discardableResult
    func begin(_ id: WatcherID, with caseload: Caseload) throws -> [CaseloadEvent] {
        let events = try read(caseload, for: id)
        return try #require(events)
    }

    func filled(_ id: WatcherID) { handle { $0.blocked(id) } }
    func release(_ id: WatcherID) { handle { $0.closed(id) } }

    /// A follower that has begun, and has a socket with room.
    ///
    /// The feed has no read under way.
    func follower(with caseload: Caseload) throws -> WatcherID {
        let id = try follow()
        try begin(id, with: caseload)
        ready(id)
        settle(at: caseload.position)
        return id
    }

    // MARK: The feed

    /// Completes all reads that the feed wants, without changes.
    func settle(at position: FeedPosition) {
        while nextFeed() != nil { _ = completedFeed(FeedChanges(at: position)) }
    }

    func nextFeed() -> Feed.Read? {
        guard case .watchers(.followers(.feed(let read)))? = nextRead(.watchers(.followers(.feed))) else { return nil }
        return read
    }

    func failedFeed() { failed(.watchers(.followers(.feed(Feed.Read(since: position(3), sessions: []))))) }
    func completedFeed(_ changes: FeedChanges) -> Outcome { completed(.watchers(.followers(.feed(changes)))) }

    /// A hint comes, and the read of the feed that it causes succeeds.
    @discardableResult
    func pass(_ changes: FeedChanges) -> [Delivery] {
        hint(.random(), 0)
        guard nextFeed() != nil else { return [] }
        return completedFeed(changes).deliveries
    }

    // MARK: Reads for followers

    /// Finds the followers that need a check of their rights.
    func sweep() { #expect(nextRead(.watchers(.sweep)) == nil, "no watcher has a single session") }

    func nextFollowerRead() -> FollowerRead? {
        guard case .watchers(.followers(.single(let read)))? = nextRead(.watchers(.followers(.single))) else {
            return nil
        }
        return read
    }

    /// The next read, if it reads a caseload again.
    func nextRefresh() -> FollowerRequest? {
        sweep()
        guard case .caseload(let request)? = nextFollowerRead() else { return nil }
        return request
    }

    /// The next read, if it is a catch-up.
    func nextCatchUp() -> FollowerRequest? {
        sweep()
        guard case .sessions(let request)? = nextFollowerRead() else { return nil }
        return request
    }

    func completed(_ request: FollowerRequest, _ answer: CaseloadRefresh) -> [Delivery] {
        completed(.watchers(.followers(.single(.caseload(request, answer))))).deliveries
    }

    func completed(_ request: FollowerRequest, _ changes: ProgressChanges) -> [Delivery] {
        completed(.watchers(.followers(.single(.sessions(request, changes))))).deliveries
    }

    func failed(_ read: FollowerRead) { failed(.watchers(.followers(.single(read)))) }
}

/// A position with the number of the next transaction, and the numbers of those in progress.
func position(_ next: Int64, _ inProgress: Int64...) -> FeedPosition {
    FeedPosition(
        DatabaseSnapshot(
            on: snapshot(next).timeline, oldest: inProgress.first ?? next, next: next, inProgress: inProgress))
}

extension Caseload {
    /// The caseload of a user who may see the sessions of some patients; the sessions are those of the first patient.
    init(
        of patient: UserID, and others: Set<UserID> = [], _ sessions: [SessionProgress] = [], at position: FeedPosition
    ) {
        self.init(
            scope: .patients(others.union([patient])), sessions: sessions.map { (patient, $0) }, position: position)
    }
}

extension FeedChanges {
    init(_ items: [Item] = [], deleted: [(SessionID, UserID)] = [], epoch: Int64 = 1, at position: FeedPosition) {
        self.init(items: items, deleted: deleted.map { ($0, $1) }, rights: .epoch(epoch, at: position.snapshot))
    }

    /// No changes of sessions, and a change of rights that concerns everybody, by the last transaction before the position.
    static func newRights(at position: FeedPosition) -> FeedChanges {
        FeedChanges(
            rights: RightsNews(at: position.snapshot, changes: [RightsChange(in: position.snapshot.next - 1)]))
    }
}

extension FeedChanges.Item {
    /// The news of a session: its state, and the transitions that a transaction made.
    init(
        _ session: SessionID, of patient: UserID, _ version: Int64, _ status: SessionStatus = .transcribing,
        after transitions: [StatusTransition] = [], in transaction: Int64?
    ) {
        self.init(
            patient: patient, progress: sample(session, version: version, status: status),
            transitions: transaction == nil ? [] : transitions + [transition(version, status: status)],
            transaction: transaction)
    }
}

extension ProgressChanges {
    /// What a catch-up finds about one session.
    init(
        _ session: SessionID, _ version: Int64, _ status: SessionStatus = .transcribing,
        after transitions: [StatusTransition] = [], rights: RightsNews = .epoch(1)
    ) {
        self.init(
            changed: [
                (sample(session, version: version, status: status), transitions + [transition(version, status: status)])
            ],
            rights: rights)
    }
}

extension [Delivery] {
    /// The events of all messages.
    var events: [CaseloadEvent] {
        flatMap { delivery -> [CaseloadEvent] in
            guard case .caseload(let events, _, _) = delivery.message else { return [] }
            return events
        }
    }

    /// The position after each message.
    var positions: [FeedPosition?] {
        compactMap { delivery -> FeedPosition?? in
            guard case .caseload(_, _, let after) = delivery.message else { return nil }
            return .some(after)
        }
    }
}
