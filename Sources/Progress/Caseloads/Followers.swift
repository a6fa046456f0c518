import DequeModule
import Domain
import Store

/// The streams of all sessions.
///
/// What the feed finds goes to the followers that may see it. A read for one follower finds what that follower has missed, or
/// reads its caseload again when rights may have changed.
struct Followers {
    /// What the answer to a read leads to.
    enum Action {
        case deliver(Delivery)
        case revoke(WatcherID)
        /// Read a session again after a pause.
        case pause(SessionID)
        /// Count a change that the messages before contain.
        case shown(ShownChange)
    }

    /// The two queues of reads.
    enum Lane: CaseIterable, Sendable {
        /// The one read for all followers.
        case feed
        /// Reads for one follower.
        case single
    }

    /// A read of one lane.
    enum Read: Sendable {
        case feed(Feed.Read)
        case single(FollowerRead)
    }

    /// The answer to a ``Read``.
    enum Answer: Sendable {
        case feed(FeedChanges)
        case single(FollowerAnswer)
    }

    /// The largest number of reads for one follower that are under way at a time.
    static let readsAtATime = 2

    /// The followers whose caseloads are being read.
    private var pending: [WatcherID: PendingFollower] = [:]
    /// What the feed has found meanwhile.
    private(set) var collected = CollectedChanges()
    /// The followers that have begun.
    private var following: [WatcherID: Follower] = [:]
    /// Which of them an answer of the feed concerns.
    private(set) var index = FollowerIndex()
    private(set) var feed: Feed
    /// The followers that wait for a read.
    private var queue: Deque<WatcherID> = []
    private var readsUnderWay = 0
    /// The largest number of sessions in one read.
    private let limit: Int

    init(limit: Int) {
        self.limit = limit
        feed = Feed(limit: limit)
    }

    var isEmpty: Bool { pending.isEmpty && following.isEmpty }
    /// Whether no follower has missed anything.
    var areCurrent: Bool { following.values.allSatisfy { !$0.isBehind } }
    /// Whether no follower keeps a session.
    var haveShownNothing: Bool { following.values.allSatisfy(\.hasShownNothing) }

    /// The followers that a change of rights concerns if it names a patient and no user, as when a session moves.
    ///
    /// They include every follower whose caseload is being read: the read may be older than the change, and show the patient.
    /// Streams of all patients' sessions are not among them after they have begun.
    func watchers(ofPatient patient: UserID) -> [WatcherID] {
        index.followers(ofPatient: patient) + Array(pending.keys)
    }

    /// Whether the scope of a follower was read after a change of rights.
    func hasScope(of id: WatcherID, after transaction: Int64) -> Bool {
        following[id]?.scopeRead.shows(transaction) ?? false
    }

    // MARK: - Beginning and leaving

    /// Registers a follower, which collects from now on what the feed finds.
    mutating func register(_ id: WatcherID) { pending[id] = PendingFollower(answersBefore: collected.answers) }

    /// The hub begins to read the caseload of a follower.
    mutating func caseloadReadBegins(for id: WatcherID) { pending[id]?.predatesFeed = false }

    /// Whether the hub must read the caseload of a follower again before the follower begins.
    func predatesFeed(_ id: WatcherID) -> Bool { pending[id]?.predatesFeed ?? false }

    /// A follower begins with its caseload.
    ///
    /// - Parameters:
    ///   - id: The follower.
    ///   - caseload: The caseload.
    ///   - now: The present moment.
    /// - Returns: The events to begin with, and the sessions whose pauses begin.
    mutating func begin(
        _ id: WatcherID, with caseload: Caseload, at now: ContinuousClock.Instant
    ) -> (events: [CaseloadEvent], pauses: [SessionID]) {
        let missed = pending[id].map { collected.missed(by: $0, in: caseload.scope) }
        forgetPending(id)
        let startsFeed = !feed.isRunning
        if startsFeed {
            feed.start(at: caseload.position)
            // The caseload of another follower may be older than the feed, which does not find what lies between.
            for other in pending.keys { pending[other]?.predatesFeed = true }
        }
        let pauses = caseload.sessions.map(\.progress).filter { feed.list($0) }.map(\.sessionID)
        let follower = Follower(caseload, missed: missed ?? CollectedChanges.Missed())
        following[id] = follower
        index.update(id, from: nil, to: follower.scope, isSettled: follower.isSettled)
        // No feed noted the hints that came since the database snapshot.
        if startsFeed { feed.readAll(at: now) }
        return (caseload.sessions.map { .state($0.progress) } + [.ready], pauses)
    }

    /// Removes a follower that has left or got its last message.
    ///
    /// With the last follower, the feed ends.
    mutating func remove(_ id: WatcherID) {
        if let follower = following.removeValue(forKey: id) {
            index.update(id, from: follower.scope, to: nil, isSettled: true)
        } else if !forgetPending(id) {
            return
        }
        if isEmpty { feed.stop() }
    }

    /// Removes a pending follower; false if it is not pending.
    @discardableResult
    private mutating func forgetPending(_ id: WatcherID) -> Bool {
        guard pending.removeValue(forKey: id) != nil else { return false }
        if pending.isEmpty { collected.removeAll() }
        return true
    }

    /// Changes a follower that has begun, and says in the index what has become of it.
    ///
    /// - Returns: The result of the change; nil if the follower has not begun.
    @discardableResult
    private mutating func change<Result>(_ id: WatcherID, _ body: (inout Follower) -> Result) -> Result? {
        // Only the scope is kept for comparison: a copy of the follower would make the change copy everything that it holds.
        guard let scope = following[id]?.scope, let result = following[id]?.apply(body), let follower = following[id]
        else {
            return nil
        }
        index.update(id, from: scope, to: follower.scope, isSettled: follower.isSettled)
        return result
    }

    // MARK: - Events

    mutating func hint(
        _ session: SessionID, version: Int64, at now: ContinuousClock.Instant, isFromPoll: Bool = false
    ) { feed.hint(session, version: version, at: now, isFromPoll: isFromPoll) }
    mutating func readAll(at now: ContinuousClock.Instant) { feed.readAll(at: now) }
    mutating func resync(at now: ContinuousClock.Instant) { feed.resync(at: now) }
    mutating func pauseEnded(_ session: SessionID, at now: ContinuousClock.Instant) -> Bool {
        feed.pauseEnded(session, at: now)
    }

    /// The right of a follower needs a check: the hub reads its caseload again.
    mutating func needCaseload(of id: WatcherID) {
        if change(id, { $0.needCaseload() }) == true { queue.append(id) }
    }

    /// The socket of a follower has room.
    mutating func unblocked(_ id: WatcherID, isCurrent: Bool) {
        if !isCurrent { needCaseload(of: id) }
        enqueueIfWanted(id)
    }

    private mutating func enqueueIfWanted(_ id: WatcherID) {
        if let follower = following[id], follower.isBehind || follower.needsCaseload { queue.append(id) }
    }

    // MARK: - Reading

    /// The next read of a lane; nil if nothing is wanted or enough reads are under way.
    mutating func nextRead(_ lane: Lane, in table: WatcherTable, rights: Rights) -> Read? {
        switch lane {
        case .feed: feed.nextRead(rightsSince: rights.snapshot).map(Read.feed)
        case .single: nextSingleRead(in: table, rights: rights).map(Read.single)
        }
    }

    private mutating func nextSingleRead(in table: WatcherTable, rights: Rights) -> FollowerRead? {
        guard readsUnderWay < Self.readsAtATime else { return nil }
        while let id = queue.popFirst() {
            guard let principal = table.state(of: id).attachedPrincipal else { continue }
            let request = FollowerRequest(
                watcher: id, principal: principal, suspensions: rights.suspensions, rightsSince: rights.snapshot)
            guard
                let read = change(
                    id, { [limit] in $0.nextRead(request, isReady: table.state(of: id).isReady, limit: limit) }) ?? nil
            else { continue }
            readsUnderWay += 1
            return read
        }
        return nil
    }

    /// A read succeeded.
    mutating func completed(_ answer: Answer, in table: WatcherTable, rights: inout Rights) -> [Action] {
        switch answer {
        case .feed(let changes):
            guard let (pauses, causes) = feed.completed(changes) else { return [] }
            if !pending.isEmpty {
                collected.collect(changes, neededAfter: { [pending] in pending.values.map(\.answersBefore).min() ?? 0 })
            }
            let messages = index.concerned(by: changes).compactMap { pass(changes, to: $0, in: table, rights: rights) }
            return messages + ShownChange.changes(causes, by: messages).map(Action.shown) + pauses.map(Action.pause)
        case .single(let answer):
            readsUnderWay -= 1
            return completed(answer, in: table, rights: &rights)
        }
    }

    /// A read failed: everything that it was for is still wanted.
    mutating func failed(_ read: Read) {
        switch read {
        case .feed: feed.failed()
        case .single(.caseload(let request)), .single(.sessions(let request)):
            readsUnderWay -= 1
            change(request.watcher) { $0.discardRead() }
            queue.append(request.watcher)
        }
    }

    // MARK: - The answers to reads

    private mutating func pass(
        _ changes: FeedChanges, to id: WatcherID, in table: WatcherTable, rights: Rights
    ) -> Action? {
        let isReady = table.state(of: id).isReady
        let maySend = isReady && rights.permits(id)
        let message = change(id) { $0.pass(changes, maySend: maySend) }
        // The read is older than the scope of the follower. No sweep checks the follower: a catch-up can begin at once.
        if maySend, let follower = following[id], changes.rights.snapshot.precedes(follower.scopeRead),
            follower.isBehind
        {
            queue.append(id)
        }
        return Self.delivery(message ?? nil, to: id)
    }

    private mutating func completed(
        _ answer: FollowerAnswer, in table: WatcherTable, rights: inout Rights
    ) -> [Action] {
        switch answer {
        case .caseload(let request, let refresh):
            let id = request.watcher
            guard following[id] != nil else { return [] }
            // A newer server may be able to read the row.
            if refresh.caseload.refusal == .unreadable { return [.deliver(Delivery(.reconnect, to: [id]))] }
            guard refresh.caseload.refusal == nil else { return [.revoke(id)] }
            guard rights.confirm(id, readAfter: request.suspensions) else {
                // Another read has shown that the right has changed since.
                change(id) { $0.discardRead() }
                enqueueIfWanted(id)
                return []
            }
            guard table.state(of: id).isReady else {
                // The hub reads the caseload again when there is room. Until then, the scope stays what the follower was shown.
                change(id) { $0.discardRead() }
                return []
            }
            let message = change(id) { $0.refreshed(refresh) }
            enqueueIfWanted(id)
            return [Self.delivery(message ?? nil, to: id)].compactMap { $0 }
        case .sessions(let request, let changes):
            let id = request.watcher
            let maySend = table.state(of: id).isReady && rights.permits(id)
            let message = change(id) { $0.caughtUp(changes, maySend: maySend) }
            enqueueIfWanted(id)
            return [Self.delivery(message ?? nil, to: id)].compactMap { $0 }
        }
    }

    private static func delivery(_ message: WatcherMessage?, to id: WatcherID) -> Action? {
        message.map { .deliver(Delivery($0, to: [id])) }
    }
}

extension Followers.Read {
    func answer(from reader: any ProgressReader) async throws -> Followers.Answer {
        switch self {
        case .feed(let read): .feed(try await read.answer(from: reader))
        case .single(let read): .single(try await read.answer(from: reader))
        }
    }
}
