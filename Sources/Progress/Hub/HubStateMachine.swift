import Domain
import Store

/// The hub's decisions, as a value: it routes each event to the sub-machines and merges what they want done.
///
/// It knows no clock, no database, no socket and no task. `docs/hub.md` shows the sub-machines, their events, their actions
/// and their states.
struct HubStateMachine {
    private(set) var table = WatcherTable()
    private(set) var openings: Openings
    private(set) var reads: SessionReads
    private(set) var catchUps: CatchUps
    private(set) var rights = Rights()
    private(set) var followers: Followers
    private(set) var trouble = Trouble()
    private(set) var pauses = Pauses()
    private var poll: Poll
    private var rightsCheck = RegularCheck()
    private let readLimit: Int

    /// - Parameters:
    ///   - readLimit: At most this many sessions or watchers in one read.
    ///   - pollInterval: The time between two polls.
    init(
        admission: StreamAdmission = .unlimited, limits: Openings.Limits = Openings.Limits(), readLimit: Int = 500,
        pollInterval: Duration
    ) {
        openings = Openings(admission: admission, limits: limits)
        reads = SessionReads(limit: readLimit)
        catchUps = CatchUps(limit: readLimit)
        followers = Followers(limit: readLimit)
        poll = Poll(every: pollInterval)
        self.readLimit = readLimit
    }

    /// Nobody watches anything.
    private var isIdle: Bool { table.index.isEmpty && followers.isEmpty }

    // MARK: - Time

    /// The next moment at which ``timeIs(_:)`` has something to do.
    var due: ContinuousClock.Instant? {
        earlier(earlier(pauses.due, trouble.retryAt), earlier(poll.due, rightsCheck.due))
    }

    /// The hub begins to poll.
    mutating func start(at now: ContinuousClock.Instant) {
        poll.start(at: now)
        rightsCheck.start(at: now)
    }

    mutating func timeIs(_ now: ContinuousClock.Instant) {
        trouble.timeIs(now)
        poll.timeIs(now, isIdle: isIdle)
        if let share = rightsCheck.share(at: now) { regularCheckIsDue(share: share) }
        var again: [SessionID] = []
        while let session = pauses.popDue(at: now) {
            let (isFed, isRead) = (followers.pauseEnded(session), reads.pauseEnded(session, in: table))
            if isFed || isRead { again.append(session) }
        }
        for session in again { pauses.begin(session, at: now) }
    }

    /// A part of all watchers has to be asked about, from 0 to 1.
    mutating func regularCheckIsDue(share: Double) { rights.regularCheckIsDue(share: share, in: table) }

    /// The server stops: nobody waits any more.
    mutating func close() -> [HubAction] {
        poll.stop()
        rightsCheck.stop()
        return openings.close().flatMap { reject($0) }
    }

    // MARK: - Openings

    /// A user wants the stream of a session.
    ///
    /// - Returns: The watcher that waits for its answer; nil when the user is rejected.
    mutating func subscribe(_ request: AuthorizationRequest) -> WatcherID? {
        guard openings.mayWait(.sessions) else { return nil }
        let (id, session, isFirst) = table.register(.opening(request.principal), of: request.session)
        if isFirst { reads.watch(session) }
        openings.wait(SessionOpener(watcher: id, request: request))
        return id
    }

    /// A user wants the stream of all sessions.
    ///
    /// - Returns: The watcher that waits for its answer; nil when the user is rejected.
    mutating func subscribeToAll(for principal: Principal, since position: FeedPosition?, requestID: String?)
        -> WatcherID?
    {
        guard openings.mayWait(.caseloads) else { return nil }
        let id = table.registerFollower(.opening(principal))
        followers.open(id)
        openings.wait(CaseloadOpener(watcher: id, principal: principal, position: position, requestID: requestID))
        return id
    }

    /// A part of the program wants the states of a session.
    mutating func subscribeLocally(to session: SessionID) -> WatcherID {
        let (id, slot, isFirst) = table.register(.local, of: session)
        if isFirst { reads.watch(slot) }
        reads.beginLocal(session, at: slot)
        return id
    }

    private mutating func reject(_ id: WatcherID) -> [HubAction] { refuse(id, .rejected(openings.rejection)) }

    private mutating func refuse(_ id: WatcherID, _ result: Openings.Result) -> [HubAction] {
        if case .opening = table.state(of: id) { closed(id) }
        return [.answer(id, result)]
    }

    /// Takes a place for a watcher that waits for its snapshot, and has it now.
    private mutating func admit(_ id: WatcherID, at version: Int64, under epoch: Int64) -> Bool {
        guard case .opening(let principal) = table.state(of: id), openings.admit(principal.user) else { return false }
        rights.begin(id, under: epoch)
        catchUps.begin(id)
        trouble.begin(id)
        return table.begin(id, at: version)
    }

    private mutating func completed(
        _ opener: SessionOpener, _ opening: SessionAuthorization, at now: ContinuousClock.Instant
    ) -> [HubAction] {
        let id = opener.watcher
        if let result = openings.decision(on: opening) { return refuse(id, result) }
        guard let version = opening.progress?.version, let session = table.sessionSlot(of: id),
            admit(id, at: version, under: opening.rightsEpoch)
        else { return reject(id) }
        let (beginning, actions) = reads.begin(at: version, of: opener.request.session, at: session, in: table)
        if beginning == .behind { catchUps.missed(id, isReady: false) }
        return actions.flatMap { perform($0, under: opening.rightsEpoch, at: now) }
            + [.answer(id, .session(opening, isWatched: true))]
    }

    private mutating func completed(
        _ opener: CaseloadOpener, _ caseload: Caseload, _ missed: MissedChanges?, at now: ContinuousClock.Instant
    ) -> [HubAction] {
        let id = opener.watcher
        if let refusal = caseload.refusal { return refuse(id, .refused(refusal)) }
        guard !openings.isClosed else { return reject(id) }
        guard !followers.predatesFeed(id) else {
            openings.waitAgain(opener)
            return []
        }
        guard admit(id, at: 0, under: caseload.rightsEpoch) else { return reject(id) }
        let (events, sessions) = followers.begin(id, with: caseload)
        for session in sessions { pauses.begin(session, at: now) }
        let result = Openings.Result.caseload(
            (missed?.events(before: caseload) ?? []) + events, before: missed == nil ? nil : opener.position,
            after: caseload.position)
        return [.answer(id, result)]
    }

    // MARK: - Hints

    /// A hint says that a session has come to a version; 0 says that it is deleted.
    mutating func hint(_ session: SessionID, version: Int64) {
        followers.hint(session, version: version)
        reads.hint(session, version: version, in: table)
    }

    /// Hints may have been lost.
    mutating func resync() {
        reads.resync(in: table)
        followers.resync()
    }

    mutating func rightsChanged() { reads.wantEpoch() }

    // MARK: - Sockets

    /// A watcher has a socket now, or room in it again.
    mutating func unblocked(_ id: WatcherID) -> [HubAction] {
        guard table.unblock(id) else { return [] }
        // Rights may have changed since it was let in, and the sweep may have gone past it.
        let isCurrent = rights.isCurrent(id)
        if table.isFollower(id) {
            followers.unblocked(id, isCurrent: isCurrent)
        } else {
            if !isCurrent { catchUps.missed(id, isReady: true) }
            catchUps.unblocked(id)
        }
        return trouble.unblocked(id).map { [.deliver($0)] } ?? []
    }

    /// A watcher has a socket now, but the snapshot that it was let in with was not sent there.
    ///
    /// - Parameter version: The version that its client has; 0 for none.
    mutating func attachedWithoutSnapshot(_ id: WatcherID, clientHas version: Int64) -> [HubAction] {
        if table.isFollower(id) {
            // The client comes back with the position that it has, and is told from there.
            return unblocked(id) + [.deliver(Delivery(.reconnect, to: [id]))]
        }
        if table.state(of: id).hasBegun {
            table.setSent(version, to: id)
            catchUps.missed(id, isReady: false)
        }
        return unblocked(id)
    }

    /// Whether no read has shown that rights have changed since a watcher was let in.
    func isCurrent(_ id: WatcherID) -> Bool {
        if case .free = table.state(of: id) { true } else { rights.isCurrent(id) }
    }

    /// A watcher's socket has no room at present.
    mutating func blocked(_ id: WatcherID) { table.block(id) }

    /// A watcher gets its last message now.
    ///
    /// - Returns: False when it has no socket, or got its last message before.
    @discardableResult
    mutating func ended(_ id: WatcherID) -> Bool {
        guard table.end(id) else { return false }
        followers.forget(id)
        return true
    }

    /// A watcher is gone, with its socket if it had one.
    mutating func closed(_ id: WatcherID) {
        switch table.remove(id) {
        case .free: return
        case .opening, .local: break
        case .detached(let principal), .ready(let principal), .blocked(let principal), .ended(let principal):
            openings.leave(principal.user)
        }
        followers.forget(id)
    }

    /// Nobody will give a watcher a socket any more.
    mutating func abandoned(_ id: WatcherID) {
        switch table.state(of: id) {
        case .opening, .detached: closed(id)
        case .free, .ready, .blocked, .ended, .local: break
        }
    }

    /// The sink has taken a message, for all but some watchers.
    mutating func delivered(
        _ delivery: Delivery, _ exceptions: [(watcher: WatcherID, exception: DeliveryException)]
    ) -> [HubAction] {
        if delivery.message.isLast {
            // A watcher that had no room for the last state is asked about again when there is some.
            let refused = Set(exceptions.lazy.filter { $0.exception == .refused }.map(\.watcher))
            for id in delivery.watchers where !refused.contains(id) { ended(id) }
        }
        return exceptions.flatMap { note($1, of: $0, in: delivery) }
    }

    private mutating func note(
        _ exception: DeliveryException, of id: WatcherID, in delivery: Delivery
    ) -> [HubAction] {
        switch exception {
        case .gone: closed(id)
        case .full: table.block(id)
        case .refused:
            guard table.state(of: id).hasBegun else { return [] }
            table.block(id)
            trouble.refused(delivery.message, by: id)
            if case .state = delivery.message {
                table.setSent(delivery.previous, to: id)
                catchUps.missed(id, isReady: false)
            }
            // The client comes back with the position that it has, and is told from there.
            if case .caseload = delivery.message { return [.deliver(Delivery(.reconnect, to: [id]))] }
        }
        return []
    }

    // MARK: - Reads

    /// The next read of a sub-machine; nil when it wants none, or may not begin one now.
    mutating func nextRead(_ source: HubRead.Source) -> HubRead? {
        guard trouble.mayRead || !source.waitsForRetry else { return nil }
        switch source {
        case .sessions(let lane): return reads.nextRead(lane, in: table).map { .sessions(lane, $0) }
        case .catchUps: return catchUps.nextRead(in: table).map(HubRead.catchUp)
        case .rights:
            let sweep = rights.nextSweep(in: table, limit: readLimit)
            for id in sweep.followers { followers.needCaseload(of: id) }
            return sweep.watchers.isEmpty ? nil : .sweep(sweep.watchers)
        case .followers(let lane): return followers.nextRead(lane, in: table).map(HubRead.followers)
        case .openings(let lane):
            let read = openings.nextRead(lane)
            if case .caseload(let opener) = read { followers.caseloadIsRead(of: opener.watcher) }
            return read.map(HubRead.openings)
        case .poll: return poll.nextRead() ? .snapshot : nil
        }
    }

    /// A read came back.
    mutating func completed(_ answer: HubAnswer, at now: ContinuousClock.Instant) -> [HubAction] {
        if case .openings(let answer) = answer { return completed(answer, at: now) }
        var actions = trouble.succeeded(in: table).map { [HubAction.deliver($0)] } ?? []
        let hasRecovered = !actions.isEmpty
        let epoch = answer.epoch ?? rights.epoch
        rights.saw(epoch: epoch)
        switch answer {
        case .sessions(let lane, let answer):
            for action in reads.completed(lane, answer, in: table) {
                actions += perform(action, under: epoch, at: now)
            }
        case .catchUp(let answers, _):
            for action in catchUps.completed(answers, under: epoch, in: &table, rights: &rights, reads: reads) {
                actions += perform(action)
            }
        case .sweep(let lost, _):
            for request in rights.completedSweep(lost: lost, under: epoch, in: table) {
                actions += revoke(request.watcher, request.session)
            }
        case .followers(let answer):
            for action in followers.completed(answer, in: table, rights: &rights) {
                actions += perform(action, at: now)
            }
        case .snapshot(let snapshot):
            if hasRecovered { resync() }
            guard poll.completed(snapshot) else { break }
            followers.resync()
            actions.append(.foundByPoll(reads.poll(in: table)))
        case .openings: break
        }
        return actions
    }

    private mutating func completed(_ answer: OpeningReadAnswer, at now: ContinuousClock.Instant) -> [HubAction] {
        openings.readEnded(answer.lane)
        switch answer {
        case .sessions(let openers, let found):
            return zip(openers, found).flatMap { completed($0, $1, at: now) }
        case .caseload(let opener, let caseload, let missed):
            return completed(opener, caseload, missed, at: now)
        }
    }

    /// A read failed.
    ///
    /// - Parameters:
    ///   - isCutShort: The hub stops, which is no fault of the database.
    ///   - jitter: Between 0 and 1: how much of the delay before the next try is waited for.
    mutating func failed(
        _ read: HubRead, _ error: any Error, isCutShort: Bool, jitter: Double, at now: ContinuousClock.Instant
    ) -> [HubAction] {
        switch read {
        case .sessions(let lane, _): reads.failed(lane, in: table)
        case .catchUp: catchUps.failed(in: table)
        case .sweep: rights.failedSweep()
        case .followers(let read): followers.failed(read)
        case .snapshot: break
        case .openings(let read):
            openings.readEnded(read.lane)
            return read.watchers.flatMap { isCutShort ? reject($0) : refuse($0, .failed(error)) }
        }
        guard !isCutShort, !openings.isClosed else { return [] }
        return trouble.failed(at: now, jitter: jitter, in: table).map { [.deliver($0)] } ?? []
    }

    /// A read cannot begin: the hub stops.
    mutating func couldNotBegin(_ read: HubRead) -> [HubAction] {
        guard case .openings(let read) = read else { return [] }
        openings.readEnded(read.lane)
        return read.watchers.flatMap { reject($0) }
    }

    // MARK: - What the sub-machines want done

    private mutating func perform(
        _ action: SessionReads.Action, under epoch: Int64, at now: ContinuousClock.Instant
    ) -> [HubAction] {
        switch action {
        case .news(let news, let from):
            return FanOut.pass(news, from: from, under: epoch, to: &table, rights: rights, catchUps: &catchUps)
        case .missing(let session, let endsLocalSubscribers):
            return FanOut.missing(
                session, endsLocalSubscribers: endsLocalSubscribers, in: &table, catchUps: &catchUps)
        case .pause(let session):
            pauses.begin(session, at: now)
            return []
        }
    }

    private mutating func perform(_ action: CatchUps.Action) -> [HubAction] {
        switch action {
        case .deliver(let delivery): [.deliver(delivery)]
        case .revoke(let request): revoke(request.watcher, request.session)
        }
    }

    private mutating func perform(_ action: Followers.Action, at now: ContinuousClock.Instant) -> [HubAction] {
        switch action {
        case .deliver(let delivery): return [.deliver(delivery)]
        case .revoke(let id): return revoke(id, nil)
        case .pause(let session):
            pauses.begin(session, at: now)
            return []
        }
    }

    private mutating func revoke(_ id: WatcherID, _ session: SessionID?) -> [HubAction] {
        ended(id) ? [.deliver(Delivery(.revoked(session), to: [id]))] : []
    }
}
