import Domain
import Store

/// The decisions of the hub, as a value.
///
/// It routes each event to the sub-machines and merges their actions. It uses no clock, database, socket or task.
/// `docs/hub.md` shows the sub-machines with their events, actions and states.
struct HubStateMachine {
    private(set) var subscriptions: PendingSubscriptions
    private(set) var watchers: Watchers
    private(set) var reads: SessionReads
    private(set) var pauses = Pauses()
    private var poll: Poll
    private var rightsReads = RightsReads()
    private var rightsCheck = RegularCheck()
    /// The moment of the first resync whose reads have not all succeeded; nil if there is none.
    private var resyncBegan: ContinuousClock.Instant?

    /// The state of a hub without watchers.
    ///
    /// - Parameters:
    ///   - admission: The limits of streams.
    ///   - limits: The limits of pending subscriptions.
    ///   - readLimit: The largest number of sessions or watchers in one read.
    ///   - pollInterval: The time between two polls.
    init(
        admission: StreamAdmission = .unlimited, limits: PendingSubscriptions.Limits = PendingSubscriptions.Limits(),
        readLimit: Int = 500, pollInterval: Duration
    ) {
        subscriptions = PendingSubscriptions(limits: limits)
        watchers = Watchers(admission: admission, readLimit: readLimit)
        reads = SessionReads(limit: readLimit)
        poll = Poll(every: pollInterval)
    }

    /// Whether nothing is watched.
    private var isIdle: Bool { watchers.table.index.isEmpty && watchers.followers.isEmpty }

    // MARK: - Time

    /// The next moment at which ``timeIs(_:)`` has something to do.
    var due: ContinuousClock.Instant? {
        earlier(
            earlier(pauses.due, watchers.outage.retryAt), earlier(earlier(poll.due, rightsReads.due), rightsCheck.due))
    }

    /// The hub begins to poll.
    mutating func start(at now: ContinuousClock.Instant) {
        poll.start(at: now)
        rightsCheck.start(at: now)
    }

    mutating func timeIs(_ now: ContinuousClock.Instant) {
        watchers.timeIs(now)
        poll.timeIs(now, isIdle: isIdle)
        rightsReads.timeIs(now)
        if let share = rightsCheck.share(at: now) { regularCheckIsDue(share: share) }
        var again: [SessionID] = []
        while let session = pauses.popDue(at: now) {
            let isFollowed = watchers.pauseEnded(session, at: now)
            let isWatched = reads.pauseEnded(session, in: watchers.table)
            if isFollowed || isWatched { again.append(session) }
        }
        for session in again { pauses.begin(session, at: now) }
    }

    /// The hub checks the rights of a share of all watchers, from 0 to 1.
    mutating func regularCheckIsDue(share: Double) { watchers.regularCheckIsDue(share: share) }

    /// The server stops: the hub rejects all pending subscriptions.
    mutating func close(at now: ContinuousClock.Instant) -> [HubAction] {
        poll.stop()
        rightsCheck.stop()
        return subscriptions.close().flatMap { perform($0, at: now) }
    }

    // MARK: - Subscribing

    /// A user asks for the stream of a session.
    ///
    /// - Parameter request: The user and the session.
    /// - Returns: The watcher that waits for its answer; nil if the hub rejects it.
    mutating func subscribe(_ request: AuthorizationRequest) -> WatcherID? {
        guard subscriptions.hasRoom(in: .sessions) else { return nil }
        let (id, session, isFirst) = watchers.register(.authorizing(request.principal), of: request.session)
        if isFirst { reads.watch(session) }
        subscriptions.append(PendingSubscription(watcher: id, request: request))
        return id
    }

    /// A user asks for the stream of all sessions.
    ///
    /// - Parameters:
    ///   - principal: The user.
    ///   - position: The position from which the client resumes; nil for a new stream.
    ///   - requestID: The `X-Request-Id` of the request, for the audit log.
    ///   - network: Where the request came from, for the audit log; nil if that is unknown.
    /// - Returns: The watcher that waits for its answer; nil if the hub rejects it.
    mutating func subscribeToAll(
        for principal: Principal, since position: FeedPosition?, requestID: RequestIdentifier?,
        network: ClientNetwork? = nil
    ) -> WatcherID? {
        guard subscriptions.hasRoom(in: .caseloads) else { return nil }
        let id = watchers.registerFollower(for: principal)
        subscriptions.append(
            PendingCaseloadSubscription(
                watcher: id, principal: principal, position: position, requestID: requestID, network: network))
        return id
    }

    /// A part of the program asks for the states of a session.
    mutating func subscribeLocally(to session: SessionID) -> WatcherID {
        let (id, slot, isFirst) = watchers.register(.local, of: session)
        if isFirst { reads.watch(slot) }
        reads.beginLocal(session, at: slot)
        return id
    }

    // MARK: - Hints

    /// A hint says that a session has reached a version, or, with version 0, that it was deleted.
    mutating func hint(_ session: SessionID, version: Int64, at now: ContinuousClock.Instant) {
        watchers.hint(session, version: version, at: now)
        reads.hint(session, version: version, at: now, in: watchers.table)
    }

    /// Hints may have been lost.
    mutating func resync(at now: ContinuousClock.Instant) {
        reads.resync(in: watchers.table)
        watchers.resync(at: now)
        rightsReads.want()
        if isResyncing, resyncBegan == nil { resyncBegan = now }
    }

    mutating func rightsChanged() { rightsReads.hint() }

    // MARK: - Delays, for the metrics

    /// The moment of the oldest hint that no read has answered; nil if there is none.
    var oldestHint: ContinuousClock.Instant? { earlier(reads.oldestHint, watchers.followers.feed.oldestHint) }

    /// Since when the streams of all sessions are behind; see ``Feed/behindSince``.
    var feedBehindSince: ContinuousClock.Instant? { watchers.followers.feed.behindSince }

    /// Whether something that was watched at a resync has not been read since.
    var isResyncing: Bool { reads.isResyncing || watchers.followers.feed.isResyncing }

    /// Ends a resync after the last read that belongs to it.
    private mutating func endResync(at now: ContinuousClock.Instant) -> [HubAction] {
        guard let began = resyncBegan, !isResyncing else { return [] }
        resyncBegan = nil
        return [.resynced(after: now - began)]
    }

    // MARK: - Sockets

    /// A watcher got a socket, or its socket has room again.
    mutating func unblocked(_ id: WatcherID) -> [HubAction] { Self.deliver(watchers.unblocked(id)) }

    /// A watcher got a socket, and its snapshot was not sent there; see
    /// ``Watchers/attachedWithoutSnapshot(_:clientHas:)``.
    mutating func attachedWithoutSnapshot(_ id: WatcherID, clientHas version: Int64) -> [HubAction] {
        Self.deliver(watchers.attachedWithoutSnapshot(id, clientHas: version))
    }

    /// Whether no read has shown that the right of a watcher may have changed since it registered.
    func isCurrent(_ id: WatcherID) -> Bool { watchers.isCurrent(id) }

    /// The socket of a watcher has no room.
    mutating func blocked(_ id: WatcherID) { watchers.blocked(id) }

    /// A watcher gets its last message; false if it has no socket, or already got its last message.
    @discardableResult
    mutating func ended(_ id: WatcherID) -> Bool { watchers.ended(id) }

    /// A watcher has left, and its socket, if it had one, is closed.
    mutating func closed(_ id: WatcherID) { watchers.closed(id) }

    /// A watcher will get no socket.
    mutating func abandoned(_ id: WatcherID) { watchers.abandoned(id) }

    /// The sink has taken a message, apart from some exceptions.
    mutating func delivered(
        _ delivery: Delivery, _ exceptions: [(watcher: WatcherID, exception: DeliveryException)]
    ) -> [HubAction] { Self.deliver(watchers.delivered(delivery, exceptions)) }

    /// The actions for these messages.
    ///
    /// It is static. A call of an instance's method copies the machine before its arguments change the machine, and each such
    /// change then copies a table: 10,000 openings took a second more.
    private static func deliver(_ deliveries: [Delivery]) -> [HubAction] { deliveries.map(HubAction.deliver) }

    // MARK: - Reads

    /// The next read of a sub-machine; nil if it wants none, or may not begin one now.
    mutating func nextRead(_ source: HubRead.Source) -> HubRead? {
        // If the last watchers that a resync has to read for leave, it ends without a read, and nobody has waited for it.
        defer { if !isResyncing { resyncBegan = nil } }
        guard watchers.outage.mayRead || !source.waitsForRetry else { return nil }
        switch source {
        case .sessions(let lane):
            return reads.nextRead(lane, in: watchers.table, rightsSince: watchers.rights.snapshot)
                .map { .sessions(lane, $0) }
        case .watchers(let lane): return watchers.nextRead(lane).map(HubRead.watchers)
        case .subscriptions(let lane):
            let read = subscriptions.nextRead(lane)
            if case .caseload(let subscription) = read { watchers.caseloadReadBegins(for: subscription.watcher) }
            return read.map(HubRead.subscriptions)
        case .rights:
            // The first read tells the hub where the log begins, before the first watcher comes.
            guard !isIdle || watchers.rights.snapshot == nil, rightsReads.nextRead() else { return nil }
            return .rights(since: watchers.rights.snapshot)
        case .poll:
            return poll.nextRead() ? .poll(hintsSince: poll.last, rightsSince: watchers.rights.snapshot) : nil
        }
    }

    /// A read succeeded.
    mutating func completed(_ answer: HubAnswer, at now: ContinuousClock.Instant) -> [HubAction] {
        // Suspend the watchers whose rights have changed, before anything that the answer has found is sent.
        var actions = saw(answer)
        if case .subscriptions(let answer) = answer {
            return actions + subscriptions.completed(answer).flatMap { perform($0, at: now) }
        }
        let recovery = watchers.readSucceeded()
        actions += Self.deliver(recovery)
        switch answer {
        case .sessions(let lane, let answer):
            actions += reads.completed(lane, answer, in: watchers.table).flatMap { perform($0, at: now) }
        case .watchers(let answer):
            actions += watchers.completed(answer, reads: reads).flatMap { perform($0, at: now) }
        case .rights(let news): rightsReads.completed(foundChanges: news.changes?.isEmpty == false, at: now)
        case .poll(let news):
            if !recovery.isEmpty { resync(at: now) }
            guard poll.completed(news.rights.snapshot) else { break }
            actions.append(.foundByPoll(polled(news.versions, at: now)))
        case .subscriptions: break
        }
        actions += endResync(at: now)
        return actions
    }

    /// The poll has found hints, or, with nil, cannot name what was committed.
    ///
    /// - Returns: The number of changes that only the last poll has found.
    private mutating func polled(_ versions: [SessionID: Int64]?, at now: ContinuousClock.Instant) -> Int {
        let found = reads.pollBegins()
        guard let versions else {
            watchers.readAll(at: now)
            reads.pollAll(in: watchers.table)
            return found
        }
        for (session, version) in versions {
            watchers.hint(session, version: version, at: now, isFromPoll: true)
            reads.poll(session, version: version, in: watchers.table)
        }
        return found
    }

    /// An answer says which rights have changed, and on which timeline it was read.
    private mutating func saw(_ answer: HubAnswer) -> [HubAction] {
        let isOtherTimeline: Bool
        if let news = answer.rights {
            isOtherTimeline = watchers.saw(news)
        } else {
            isOtherTimeline = answer.timeline.map { watchers.saw($0) } ?? false
        }
        guard isOtherTimeline else { return [] }
        rightsReads.want()
        reads.restart(in: watchers.table)
        return Self.deliver(watchers.timelineChanged())
    }

    /// A read failed: everything that it was for is still wanted.
    ///
    /// - Parameters:
    ///   - read: The read.
    ///   - error: The error, for the callers of subscriptions.
    ///   - isCancelled: Whether the stop of the server cancelled the read, and not the database failed.
    ///   - jitter: The part of the delay for which the hub waits, from 0 to 1.
    ///   - now: The present moment.
    /// - Returns: The actions.
    mutating func failed(
        _ read: HubRead, _ error: any Error, isCancelled: Bool, jitter: Double, at now: ContinuousClock.Instant
    ) -> [HubAction] {
        switch read {
        case .sessions(let lane, _): reads.failed(lane, in: watchers.table)
        case .watchers(let read): watchers.failed(read)
        case .rights: rightsReads.failed()
        case .poll: break
        case .subscriptions(let read):
            return subscriptions.failed(read, error, isCancelled: isCancelled).flatMap { perform($0, at: now) }
        }
        guard !isCancelled, !subscriptions.isClosed else { return [] }
        return Self.deliver(watchers.readFailed(at: now, jitter: jitter))
    }

    /// A read cannot begin, because the server stops.
    mutating func couldNotBegin(_ read: HubRead, at now: ContinuousClock.Instant) -> [HubAction] {
        guard case .subscriptions(let read) = read else { return [] }
        return subscriptions.couldNotBegin(read).flatMap { perform($0, at: now) }
    }

    // MARK: - The actions of the sub-machines

    private mutating func perform(
        _ action: SessionReads.Action, at now: ContinuousClock.Instant
    ) -> [HubAction] {
        switch action {
        case .news(let news, let from, let cause):
            let messages = watchers.pass(news, from: from)
            return messages.flatMap { perform($0, at: now) }
                + ShownChange.changes(in: news, cause, by: messages).map(HubAction.shown)
        case .missing(let session, let endsLocalSubscribers):
            return watchers.missing(session, endsLocalSubscribers: endsLocalSubscribers)
                .flatMap { perform($0, at: now) }
        case .unreadable(let session):
            return watchers.missing(session, endsLocalSubscribers: false).flatMap { perform($0, at: now) }
        case .pause(let session): pauses.begin(session, at: now)
        case .catchUp(let id): watchers.missed(id)
        }
        return []
    }

    private mutating func perform(_ action: Watchers.Action, at now: ContinuousClock.Instant) -> [HubAction] {
        switch action {
        case .deliver(let delivery): return [.deliver(delivery)]
        case .update(let id, let progress): return [.update(id, progress)]
        case .finish(let id): return [.finish(id)]
        case .pause(let session):
            pauses.begin(session, at: now)
            return []
        case .shown(let change): return [.shown(change)]
        }
    }

    private mutating func perform(
        _ action: PendingSubscriptions.Action, at now: ContinuousClock.Instant
    ) -> [HubAction] {
        switch action {
        case .answer(let id, let outcome):
            watchers.refuse(id)
            return [.answer(id, outcome)]
        case .begin(let subscription, let authorization): return begin(subscription, authorization, at: now)
        case .beginCaseload(let subscription, let caseload, let missed):
            return begin(subscription, caseload, missed, at: now)
        }
    }

    private mutating func begin(
        _ subscription: PendingSubscription, _ authorization: SessionAuthorization, at now: ContinuousClock.Instant
    ) -> [HubAction] {
        let id = subscription.watcher
        guard let version = authorization.progress?.version, let session = watchers.table.sessionSlot(of: id),
            watchers.begin(id, at: version)
        else { return reject(id, at: now) }
        return reads.begin(id, at: version, of: subscription.request.session, at: session, in: watchers.table)
            .flatMap { perform($0, at: now) } + [.answer(id, .session(authorization, isWatched: true))]
    }

    private mutating func begin(
        _ subscription: PendingCaseloadSubscription, _ caseload: Caseload, _ missed: MissedChanges?,
        at now: ContinuousClock.Instant
    ) -> [HubAction] {
        let id = subscription.watcher
        guard !watchers.followers.predatesFeed(id) else {
            subscriptions.readAgain(subscription)
            return []
        }
        guard watchers.begin(id, at: 0) else { return reject(id, at: now) }
        let (events, sessions) = watchers.beginFollowing(id, with: caseload, at: now)
        for session in sessions { pauses.begin(session, at: now) }
        let outcome = PendingSubscriptions.Outcome.caseload(
            (missed?.events(before: caseload) ?? []) + events, before: missed == nil ? nil : subscription.position,
            after: caseload.position)
        return [.answer(id, outcome)]
    }

    private mutating func reject(_ id: WatcherID, at now: ContinuousClock.Instant) -> [HubAction] {
        perform(.answer(id, .rejected(subscriptions.rejection)), at: now)
    }
}
