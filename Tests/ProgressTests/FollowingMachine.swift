import Domain
import Testing

@testable import Progress
@testable import Store

/// The machine by reference, for those who follow caseloads: `#expect` takes no mutating call.
final class FollowingMachine {
    var value = HubStateMachine(readLimit: 500)

    // MARK: Followers

    func follow() -> WatcherID { value.follow(for: .random()) }

    @discardableResult
    func begin(_ id: WatcherID, with caseload: Caseload) throws -> [CaseloadEvent] {
        let beginning = value.begin(id, with: caseload)
        return try #require(beginning).events
    }

    @discardableResult
    func ready(_ id: WatcherID) -> Delivery? { value.ready(id) }
    func filled(_ id: WatcherID) { value.filled(id) }
    func release(_ id: WatcherID) { value.release(id) }
    func note(_ exception: DeliveryException, of id: WatcherID, in delivery: Delivery) -> Delivery? {
        value.note(exception, of: id, in: delivery)
    }

    /// A follower who has been let in, and has room; the feed has no read under way.
    func follower(with caseload: Caseload) throws -> WatcherID {
        let id = follow()
        try begin(id, with: caseload)
        ready(id)
        settle(at: caseload.position, epoch: caseload.rightsEpoch)
        return id
    }

    // MARK: The feed

    /// The feed reads until it wants nothing, and finds nothing.
    func settle(at position: FeedPosition, epoch: Int64 = 1) {
        while value.nextFeed() != nil { _ = value.completedFeed(FeedChanges(rightsEpoch: epoch, position: position)) }
    }

    func hint(_ session: SessionID, _ version: Int64) { value.hint(session, version: version) }
    func nextFeed() -> (since: FeedPosition, sessions: [SessionID])? { value.nextFeed() }
    func pauseEnded(_ session: SessionID) -> Bool { value.pauseEnded(session) }
    func failedFeed() { value.failedFeed() }
    func completedFeed(_ changes: FeedChanges) -> HubStateMachine.Outcome { value.completedFeed(changes) }

    /// A hint of nothing in particular, the read that it causes, and its answer.
    @discardableResult
    func pass(_ changes: FeedChanges) -> [Delivery] {
        value.hint(.random(), version: 0)
        guard value.nextFeed() != nil else { return [] }
        return value.completedFeed(changes).deliveries
    }

    // MARK: Reads for followers

    /// The next read, when it is of the caseload.
    func nextReopening() -> FollowerRequest? {
        _ = value.nextSweep()
        guard case .caseload(let request)? = value.nextFollowerRead() else { return nil }
        return request
    }

    /// The next read, when it is of sessions that have changed.
    func nextCatchUp() -> FollowerRequest? {
        _ = value.nextSweep()
        guard case .sessions(let request)? = value.nextFollowerRead() else { return nil }
        return request
    }

    func completed(_ request: FollowerRequest, _ answer: Reopening) -> [Delivery] {
        value.completedReopening(request, answer)
    }

    func completed(_ request: FollowerRequest, _ changes: ProgressChanges) -> [Delivery] {
        value.completedCatchUp(request, changes)
    }

    func failed(_ read: FollowerRead) { value.failed(read) }
}

/// A place in the stream, with the number of the next transaction, and those that are in progress.
func position(_ next: Int64, _ inProgress: Int64...) -> FeedPosition {
    FeedPosition(
        snapshot: "\(inProgress.first ?? next):\(next):" + inProgress.map(String.init).joined(separator: ","))
}

extension Caseload {
    /// The caseload of one who may see the sessions of a patient.
    init(
        of patient: UserID, and others: Set<UserID> = [], _ sessions: [SessionProgress] = [], epoch: Int64 = 1,
        at position: FeedPosition
    ) {
        self.init(
            scope: .patients(others.union([patient])), sessions: sessions.map { (patient, $0) }, rightsEpoch: epoch,
            position: position)
    }
}

extension FeedChanges {
    init(_ items: [Item] = [], deleted: [(SessionID, UserID)] = [], epoch: Int64 = 1, at position: FeedPosition) {
        self.init(items: items, deleted: deleted.map { ($0, $1) }, rightsEpoch: epoch, position: position)
    }
}

extension FeedChanges.Item {
    /// The news of a session that has come to a status at a version, with transitions that a transaction made.
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
    /// What a catch-up finds of one session.
    init(
        _ session: SessionID, _ version: Int64, _ status: SessionStatus = .transcribing,
        after transitions: [StatusTransition] = [], epoch: Int64 = 1
    ) {
        self.init(
            changed: [
                (sample(session, version: version, status: status), transitions + [transition(version, status: status)])
            ],
            rightsEpoch: epoch)
    }
}

extension [Delivery] {
    /// What is said of a caseload.
    var events: [CaseloadEvent] {
        flatMap { delivery -> [CaseloadEvent] in
            guard case .caseload(let events, _, _) = delivery.message else { return [] }
            return events
        }
    }

    /// The positions after each message.
    var positions: [FeedPosition?] {
        compactMap { delivery -> FeedPosition?? in
            guard case .caseload(_, _, let after) = delivery.message else { return nil }
            return .some(after)
        }
    }
}
