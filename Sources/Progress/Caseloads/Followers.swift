import DequeModule
import Domain
import Store

/// The streams of all sessions: what the feed finds goes to those followers that may have it, and a read for one follower
/// alone brings what it has missed, or its caseload once more when rights may have changed.
struct Followers {
    /// What an answer leads to.
    enum Action {
        case deliver(Delivery)
        case revoke(WatcherID)
        /// A session has to be read again after a pause.
        case pause(SessionID)
    }

    /// Which queue a read serves.
    enum Lane: CaseIterable, Sendable {
        /// The one read for all followers.
        case feed
        /// Reads for one follower each.
        case single
    }

    /// A read that one of the two lanes wants.
    enum Read: Sendable {
        case feed(Feed.Read)
        case single(FollowerRead)
    }

    /// The answer to a ``Read``.
    enum Answer: Sendable {
        case feed(FeedChanges)
        case single(FollowerAnswer)

        /// The epoch of rights in the same snapshot.
        var epoch: Int64 {
            switch self {
            case .feed(let changes): changes.rightsEpoch
            case .single(let answer): answer.epoch
            }
        }
    }

    /// How many followers are read for at a time.
    static let readsAtATime = 2

    /// Followers whose caseload is not here yet.
    private var opening: [WatcherID: OpeningFollower] = [:]
    /// Followers that have begun.
    private var following: [WatcherID: Follower] = [:]
    private(set) var feed: Feed
    /// Followers for which something is to be read.
    private var queue: Deque<WatcherID> = []
    private var readsUnderWay = 0
    /// At most this many sessions in one read.
    private let limit: Int

    init(limit: Int) {
        self.limit = limit
        feed = Feed(limit: limit)
    }

    var isEmpty: Bool { opening.isEmpty && following.isEmpty }
    /// Nobody is behind.
    var areCurrent: Bool { following.values.allSatisfy { !$0.isBehind } }
    /// No session is kept of which a follower need not hear any more.
    var haveShownNothing: Bool { following.values.allSatisfy(\.hasShownNothing) }

    // MARK: - Coming and leaving

    /// A follower is registered: from here on it collects what the feed finds.
    mutating func open(_ id: WatcherID) { opening[id] = OpeningFollower() }

    /// The caseload of a follower begins to be read.
    mutating func caseloadIsRead(of id: WatcherID) { opening[id]?.predatesFeed = false }

    /// Whether the caseload of a follower has to be read again before it begins.
    func predatesFeed(_ id: WatcherID) -> Bool { opening[id]?.predatesFeed ?? false }

    /// A follower begins with its caseload.
    ///
    /// - Returns: The events to begin with, and the sessions whose pauses begin.
    mutating func begin(_ id: WatcherID, with caseload: Caseload) -> (events: [CaseloadEvent], pauses: [SessionID]) {
        let collected = opening.removeValue(forKey: id) ?? OpeningFollower()
        let startsFeed = !feed.isRunning
        if startsFeed {
            feed.start(at: caseload.position)
            // Another may have read an older snapshot, and the feed never told of what lies between.
            for other in opening.keys { opening[other]?.predatesFeed = true }
        }
        let pauses = caseload.sessions.map(\.progress).filter { feed.list($0) }.map(\.sessionID)
        following[id] = Follower(caseload, after: collected)
        // Hints that came between the snapshot and now were nobody's.
        if startsFeed { feed.resync() }
        return (caseload.sessions.map { .state($0.progress) } + [.ready], pauses)
    }

    /// A watcher is gone, or has got its last message; with the last follower the feed ends.
    mutating func forget(_ id: WatcherID) {
        guard opening.removeValue(forKey: id) != nil || following.removeValue(forKey: id) != nil, isEmpty else {
            return
        }
        feed.stop()
    }

    // MARK: - What happens

    mutating func hint(_ session: SessionID, version: Int64) { feed.hint(session, version: version) }
    mutating func resync() { feed.resync() }
    mutating func pauseEnded(_ session: SessionID) -> Bool { feed.pauseEnded(session) }

    /// The right of a follower has to be asked about, which its caseload tells.
    mutating func needCaseload(of id: WatcherID) {
        if following[id]?.needCaseload() == true { queue.append(id) }
    }

    /// A follower has room.
    mutating func unblocked(_ id: WatcherID, isCurrent: Bool) {
        if !isCurrent { needCaseload(of: id) }
        enqueueIfWanted(id)
    }

    private mutating func enqueueIfWanted(_ id: WatcherID) {
        if let follower = following[id], follower.isBehind || follower.needsCaseload { queue.append(id) }
    }

    // MARK: - Reading

    /// The next read of a lane; nil when enough are under way or when nothing is wanted.
    mutating func nextRead(_ lane: Lane, in table: WatcherTable) -> Read? {
        switch lane {
        case .feed: feed.nextRead().map(Read.feed)
        case .single: nextSingleRead(in: table).map(Read.single)
        }
    }

    private mutating func nextSingleRead(in table: WatcherTable) -> FollowerRead? {
        guard readsUnderWay < Self.readsAtATime else { return nil }
        while let id = queue.popFirst() {
            guard let principal = table.state(of: id).attachedPrincipal else { continue }
            let request = FollowerRequest(watcher: id, principal: principal)
            guard
                let read = following[id]?.nextRead(request, isReady: table.state(of: id).isReady, limit: limit)
            else { continue }
            readsUnderWay += 1
            return read
        }
        return nil
    }

    /// A read came back.
    mutating func completed(_ answer: Answer, in table: WatcherTable, rights: inout Rights) -> [Action] {
        switch answer {
        case .feed(let changes):
            guard let pauses = feed.completed(changes) else { return [] }
            for id in Array(opening.keys) { opening[id]?.collect(changes) }
            return Array(following.keys).compactMap { pass(changes, to: $0, in: table, rights: rights) }
                + pauses.map(Action.pause)
        case .single(let answer):
            readsUnderWay -= 1
            return completed(answer, in: table, rights: &rights)
        }
    }

    /// A read failed: what it wanted is still wanted.
    mutating func failed(_ read: Read) {
        switch read {
        case .feed: feed.failed()
        case .single(.caseload(let request)), .single(.sessions(let request)):
            readsUnderWay -= 1
            following[request.watcher]?.giveBack()
            queue.append(request.watcher)
        }
    }

    // MARK: - What reads bring

    private mutating func pass(
        _ changes: FeedChanges, to id: WatcherID, in table: WatcherTable, rights: Rights
    ) -> Action? {
        let isReady = table.state(of: id).isReady
        let message = following[id]?.pass(changes, mayTell: isReady && rights.permits(id, under: changes.rightsEpoch))
        // Of an older epoch than its own, which no sweep looks at: it can be caught up at once.
        if isReady, rights.isConfirmed(id, after: changes.rightsEpoch), following[id]?.isBehind == true {
            queue.append(id)
        }
        return Self.delivery(message ?? nil, to: id)
    }

    private mutating func completed(
        _ answer: FollowerAnswer, in table: WatcherTable, rights: inout Rights
    ) -> [Action] {
        switch answer {
        case .caseload(let request, let refresh):
            let (id, epoch) = (request.watcher, refresh.caseload.rightsEpoch)
            guard following[id] != nil else { return [] }
            guard epoch == rights.epoch else {
                // Another read has shown that rights have changed since this one.
                following[id]?.giveBack()
                enqueueIfWanted(id)
                return []
            }
            guard refresh.caseload.refusal == nil else { return [.revoke(id)] }
            rights.confirm(id, under: epoch)
            guard table.state(of: id).isReady else {
                // It is read again when there is room, and until then its scope is whose sessions it was shown.
                following[id]?.giveBack()
                return []
            }
            let message = following[id]?.refreshed(refresh)
            enqueueIfWanted(id)
            return [Self.delivery(message ?? nil, to: id)].compactMap { $0 }
        case .sessions(let request, let changes):
            let id = request.watcher
            let mayTell = table.state(of: id).isReady && rights.permits(id, under: changes.rightsEpoch)
            let message = following[id]?.caughtUp(changes, mayTell: mayTell)
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
