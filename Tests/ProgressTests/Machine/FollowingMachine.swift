import Domain
import Testing

@testable import Progress
@testable import Store

/// Drives a machine for those that follow caseloads.
final class FollowingMachine: MachineDriver {
    private var openers: [WatcherID: CaseloadOpener] = [:]

    init() { super.init() }

    // MARK: Followers

    /// A follower whose caseload is being read.
    func follow() throws -> WatcherID {
        var id: WatcherID?
        tell { id = $0.subscribeToAll(for: .random(), since: nil, requestID: nil) }
        beginRead()
        return try #require(id)
    }

    private func beginRead() {
        guard case .openings(.caseload(let opener))? = nextRead(.openings(.caseloads)) else { return }
        openers[opener.watcher] = opener
    }

    /// A caseload came back.
    private func read(_ caseload: Caseload, for id: WatcherID) throws -> [CaseloadEvent]? {
        let removed = openers.removeValue(forKey: id)
        let opener = try #require(removed)
        guard
            case .caseload(let events, _, _)? = completed(.openings(.caseload(opener, caseload, nil))).answers.first
        else { return nil }
        return events
    }

    /// The caseload of a follower that predates the feed comes back, and is read again.
    func readCaseload(of id: WatcherID) throws {
        guard predatesFeed(id) else { return }
        #expect(try read(Caseload(of: .random(), at: position(3)), for: id) == nil)
        beginRead()
    }

    func predatesFeed(_ id: WatcherID) -> Bool { value.followers.predatesFeed(id) }

    @discardableResult
    func begin(_ id: WatcherID, with caseload: Caseload) throws -> [CaseloadEvent] {
        let events = try read(caseload, for: id)
        return try #require(events)
    }

    func filled(_ id: WatcherID) { tell { $0.blocked(id) } }
    func release(_ id: WatcherID) { tell { $0.closed(id) } }

    /// A follower that has been let in, and has room; the feed has no read under way.
    func follower(with caseload: Caseload) throws -> WatcherID {
        let id = try follow()
        try begin(id, with: caseload)
        ready(id)
        settle(at: caseload.position, epoch: caseload.rightsEpoch)
        return id
    }

    // MARK: The feed

    /// The feed reads until it wants nothing, and finds nothing.
    func settle(at position: FeedPosition, epoch: Int64 = 1) {
        while nextFeed() != nil { _ = completedFeed(FeedChanges(rightsEpoch: epoch, position: position)) }
    }

    func nextFeed() -> Feed.Read? {
        guard case .followers(.feed(let read))? = nextRead(.followers(.feed)) else { return nil }
        return read
    }

    func failedFeed() { failed(.followers(.feed(Feed.Read(since: position(3), sessions: [])))) }
    func completedFeed(_ changes: FeedChanges) -> Outcome { completed(.followers(.feed(changes))) }

    /// A hint of nothing in particular, the read that it causes, and its answer.
    @discardableResult
    func pass(_ changes: FeedChanges) -> [Delivery] {
        hint(.random(), 0)
        guard nextFeed() != nil else { return [] }
        return completedFeed(changes).deliveries
    }

    // MARK: Reads for followers

    /// Those that have to be asked about are found.
    func sweep() { #expect(nextRead(.rights) == nil, "nobody watches a single session") }

    func nextFollowerRead() -> FollowerRead? {
        guard case .followers(.single(let read))? = nextRead(.followers(.single)) else { return nil }
        return read
    }

    /// The next read, when it is of the caseload.
    func nextRefresh() -> FollowerRequest? {
        sweep()
        guard case .caseload(let request)? = nextFollowerRead() else { return nil }
        return request
    }

    /// The next read, when it is of sessions that have changed.
    func nextCatchUp() -> FollowerRequest? {
        sweep()
        guard case .sessions(let request)? = nextFollowerRead() else { return nil }
        return request
    }

    func completed(_ request: FollowerRequest, _ answer: CaseloadRefresh) -> [Delivery] {
        completed(.followers(.single(.caseload(request, answer)))).deliveries
    }

    func completed(_ request: FollowerRequest, _ changes: ProgressChanges) -> [Delivery] {
        completed(.followers(.single(.sessions(request, changes)))).deliveries
    }

    func failed(_ read: FollowerRead) { failed(.followers(.single(read))) }
}

/// A position in the stream, with the number of the next transaction, and those that are in progress.
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
