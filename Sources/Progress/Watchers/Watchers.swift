import Domain
import Store

/// All watchers: their rights, their sockets, and the messages that they get.
///
/// The table holds the state of each watcher. The sub-machines beside it hold the rest, in columns of their own.
struct Watchers: ConcernIndex {
    /// What the answer to a read leads to.
    enum Action {
        /// Give a message to the sink.
        case deliver(Delivery)
        /// Give a state to a local subscriber.
        case update(WatcherID, SessionProgress)
        /// End a local subscriber.
        case finish(WatcherID)
        /// Read a session again after a pause.
        case pause(SessionID)
        /// Count a change that the messages before contain.
        case shown(ShownChange)
    }

    private(set) var table = WatcherTable()
    private(set) var admission: StreamAdmission
    private(set) var rights = Rights()
    private(set) var followers: Followers
    private(set) var outage = Outage()
    private var catchUps: CatchUps
    /// The largest number of watchers in one read.
    private let readLimit: Int

    init(admission: StreamAdmission, readLimit: Int) {
        self.admission = admission
        self.readLimit = readLimit
        followers = Followers(limit: readLimit)
        catchUps = CatchUps(limit: readLimit)
    }

    // MARK: - Registering

    /// Registers a watcher of one session; see ``WatcherTable/register(_:of:)``.
    mutating func register(
        _ state: WatcherTable.State, of session: SessionID
    ) -> (watcher: WatcherID, session: Int, isFirst: Bool) { table.register(state, of: session) }

    /// Registers a watcher of all sessions of a user.
    mutating func registerFollower(for principal: Principal) -> WatcherID {
        let id = table.registerFollower(.authorizing(principal))
        followers.register(id)
        return id
    }

    /// The hub begins to read the caseload of a follower.
    mutating func caseloadReadBegins(for id: WatcherID) { followers.caseloadReadBegins(for: id) }

    /// A watcher begins, if the limits of streams allow it.
    ///
    /// - Parameters:
    ///   - id: The watcher.
    ///   - version: The version of its snapshot; 0 for a follower.
    /// - Returns: False if a limit is reached, or the watcher does not wait for a snapshot.
    mutating func begin(_ id: WatcherID, at version: Int64) -> Bool {
        guard case .authorizing(let principal) = table.state(of: id),
            admission.reserve(besides: table.users.streams(of: principal.user))
        else { return false }
        table.countStreams(1, of: principal.user)
        catchUps.begin(id)
        outage.begin(id)
        return table.begin(id, at: version)
    }

    /// A follower that has begun gets its caseload.
    ///
    /// - Parameters:
    ///   - id: The follower.
    ///   - caseload: The caseload.
    ///   - now: The present moment.
    /// - Returns: The events to begin with, and the sessions whose pauses begin.
    mutating func beginFollowing(
        _ id: WatcherID, with caseload: Caseload, at now: ContinuousClock.Instant
    ) -> (events: [CaseloadEvent], pauses: [SessionID]) {
        rights.begin(id, at: caseload.position.snapshot)
        return followers.begin(id, with: caseload, at: now)
    }

    /// Removes a watcher whose subscription gets no stream.
    mutating func refuse(_ id: WatcherID) { if case .authorizing = table.state(of: id) { closed(id) } }

    // MARK: - Sockets

    /// A watcher got a socket, or its socket has room again.
    mutating func unblocked(_ id: WatcherID) -> [Delivery] {
        guard table.unblock(id) else { return [] }
        // Rights may have changed since the watcher registered, and no sweep has checked it.
        let isCurrent = rights.permits(id)
        if table.isFollower(id) {
            followers.unblocked(id, isCurrent: isCurrent)
        } else {
            if !isCurrent { catchUps.missed(id, isReady: true) }
            catchUps.unblocked(id)
        }
        return outage.unblocked(id).map { [$0] } ?? []
    }

    /// A watcher got a socket, and its snapshot was not sent there.
    ///
    /// - Parameters:
    ///   - id: The watcher.
    ///   - version: The version that its client has; 0 for none.
    /// - Returns: The messages that follow.
    mutating func attachedWithoutSnapshot(_ id: WatcherID, clientHas version: Int64) -> [Delivery] {
        if table.isFollower(id) {
            // The client comes back with its position, and resumes from there.
            return unblocked(id) + [Delivery(.reconnect, to: [id])]
        }
        if table.state(of: id).hasBegun { resend(after: version, to: id) }
        return unblocked(id)
    }

    /// Whether no read has shown that the right of a watcher may have changed since it registered.
    func isCurrent(_ id: WatcherID) -> Bool { rights.permits(id) }

    /// The socket of a watcher has no room.
    mutating func blocked(_ id: WatcherID) { table.block(id) }

    /// A watcher gets its last message.
    ///
    /// - Parameter id: The watcher.
    /// - Returns: False if the watcher has no socket, or already got its last message.
    @discardableResult
    mutating func ended(_ id: WatcherID) -> Bool {
        guard table.end(id) else { return false }
        rights.remove(id)
        followers.remove(id)
        return true
    }

    /// A watcher has left, and its socket, if it had one, is closed.
    mutating func closed(_ id: WatcherID) {
        switch table.remove(id) {
        case .free: return
        case .authorizing, .local: break
        case .detached(let principal), .ready(let principal), .blocked(let principal), .ended(let principal):
            admission.release()
            table.countStreams(-1, of: principal.user)
        }
        rights.remove(id)
        followers.remove(id)
    }

    /// A watcher will get no socket.
    mutating func abandoned(_ id: WatcherID) {
        switch table.state(of: id) {
        case .authorizing, .detached: closed(id)
        case .free, .ready, .blocked, .ended, .local: break
        }
    }

    /// The sink has taken a message.
    ///
    /// - Parameters:
    ///   - delivery: The message.
    ///   - exceptions: The watchers whose sockets did not take the whole message.
    /// - Returns: The messages that follow.
    mutating func delivered(
        _ delivery: Delivery, _ exceptions: [(watcher: WatcherID, exception: DeliveryException)]
    ) -> [Delivery] {
        if delivery.message.isLast {
            // A catch-up reads the last state again for a watcher that had no room for it.
            let refused = Set(exceptions.lazy.filter { $0.exception == .refused }.map(\.watcher))
            for id in delivery.watchers where !refused.contains(id) { ended(id) }
        }
        return exceptions.flatMap { note($1, of: $0, in: delivery) }
    }

    private mutating func note(
        _ exception: DeliveryException, of id: WatcherID, in delivery: Delivery
    ) -> [Delivery] {
        switch exception {
        case .gone: closed(id)
        case .full: table.block(id)
        case .refused:
            guard table.state(of: id).hasBegun else { return [] }
            table.block(id)
            outage.refused(delivery.message, by: id)
            if case .state = delivery.message { resend(after: delivery.previousVersion, to: id) }
            // The client comes back with its position, and resumes from there.
            if case .caseload = delivery.message { return [Delivery(.reconnect, to: [id])] }
        }
        return []
    }

    private mutating func resend(after version: Int64, to id: WatcherID) {
        table.setSent(version, to: id)
        missed(id)
    }

    // MARK: - News of sessions

    /// A watcher without room or socket has missed something.
    mutating func missed(_ id: WatcherID) { catchUps.missed(id, isReady: false) }

    /// Passes the news of a session on to its watchers; see ``FanOut/pass(_:from:to:rights:catchUps:)``.
    mutating func pass(_ news: SessionReading, from: Int64) -> [Action] {
        FanOut.pass(news, from: from, to: &table, rights: rights, catchUps: &catchUps)
    }

    /// A read did not find a session.
    mutating func missing(_ session: SessionID, endsLocalSubscribers: Bool) -> [Action] {
        FanOut.missing(session, endsLocalSubscribers: endsLocalSubscribers, in: &table, catchUps: &catchUps)
    }

    mutating func hint(
        _ session: SessionID, version: Int64, at now: ContinuousClock.Instant, isFromPoll: Bool = false
    ) { followers.hint(session, version: version, at: now, isFromPoll: isFromPoll) }
    mutating func readAll(at now: ContinuousClock.Instant) { followers.readAll(at: now) }
    mutating func resync(at now: ContinuousClock.Instant) { followers.resync(at: now) }

    /// The pause after news of a session has ended.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - now: The present moment.
    /// - Returns: Whether another pause begins.
    mutating func pauseEnded(_ session: SessionID, at now: ContinuousClock.Instant) -> Bool {
        followers.pauseEnded(session, at: now)
    }

    mutating func timeIs(_ now: ContinuousClock.Instant) { outage.timeIs(now) }

    /// Part of the regular check is due; see ``Rights/regularCheckIsDue(share:in:)``.
    mutating func regularCheckIsDue(share: Double) { rights.regularCheckIsDue(share: share, in: table) }

    // MARK: - Whom a change of rights concerns

    var watchersWithUser: [WatcherID] { table.watchersWithUser }

    func watchers(of user: UserID) -> [WatcherID] { table.watchers(of: user) }

    func watchers(of session: SessionID) -> [WatcherID] {
        table.index.slot(of: session).map { table.watchers(ofSessionAt: $0) } ?? []
    }

    func followers(of patient: UserID) -> [WatcherID] { followers.watchers(ofPatient: patient) }

    func principal(of id: WatcherID) -> Principal? { table.state(of: id).principal }

    // MARK: - Reads

    /// The next read of a lane; nil if nothing is wanted or enough reads are under way.
    mutating func nextRead(_ lane: Lane) -> Read? {
        switch lane {
        case .catchUps: return catchUps.nextRead(in: table, rights: rights).map(Read.catchUp)
        case .sweep:
            let sweep = rights.nextSweep(in: table, limit: readLimit)
            for id in sweep.followers { followers.needCaseload(of: id) }
            return sweep.watchers.isEmpty ? nil : .sweep(sweep.watchers)
        case .followers(let lane): return followers.nextRead(lane, in: table, rights: rights).map(Read.followers)
        }
    }

    /// A read of any sub-machine succeeded.
    ///
    /// - Returns: The message to the watchers that know about a failure.
    mutating func readSucceeded() -> [Delivery] { outage.succeeded(in: table).map { [$0] } ?? [] }

    /// A read has found changes of rights: the watchers that they concern get nothing before their rights are checked.
    ///
    /// - Parameter news: The changes.
    /// - Returns: Whether the database has another history than before. All watchers must then reconnect.
    mutating func saw(_ news: RightsNews) -> Bool {
        switch rights.saw(news) {
        case .named(let changes):
            for change in changes {
                let watchers = change.concerned(in: self).filter {
                    !followers.hasScope(of: $0, after: change.transaction)
                }
                suspend(watchers, for: change.transaction)
            }
        case .all: suspend(table.watchersWithUser, for: nil)
        case .otherTimeline: return true
        }
        return false
    }

    /// A read was made on a timeline.
    ///
    /// - Returns: Whether the database has another history than before.
    mutating func saw(_ timeline: DatabaseTimeline) -> Bool { rights.saw(timeline) }

    private mutating func suspend(_ watchers: [WatcherID], for transaction: Int64?) {
        guard !watchers.isEmpty else { return }
        rights.suspend(watchers, for: transaction, in: table)
        for id in watchers where table.isFollower(id) { followers.needCaseload(of: id) }
    }

    /// The database has another history.
    ///
    /// A version may now mean another state, and a client must not compare the two.
    ///
    /// - Returns: The message to all watchers with a socket. The others are checked when they get one.
    mutating func timelineChanged() -> [Delivery] {
        let watchers = table.watchersWithUser
        suspend(watchers, for: nil)
        for session in table.index.sessions {
            guard let slot = table.index.slot(of: session) else { continue }
            for id in table.watchers(ofSessionAt: slot) where table.state(of: id).isLocal { table.setSent(0, to: id) }
        }
        let attached = watchers.filter { table.state(of: $0).attachedPrincipal != nil }
        return attached.isEmpty ? [] : [Delivery(.reconnect, to: attached)]
    }

    /// A read of any sub-machine failed.
    ///
    /// - Parameters:
    ///   - now: The present moment.
    ///   - jitter: The part of the delay for which the hub waits, from 0 to 1.
    /// - Returns: The message to the watchers that do not know about the failure.
    mutating func readFailed(at now: ContinuousClock.Instant, jitter: Double) -> [Delivery] {
        outage.failed(at: now, jitter: jitter, in: table).map { [$0] } ?? []
    }

    /// A read for watchers succeeded.
    ///
    /// - Parameters:
    ///   - answer: The answer.
    ///   - reads: What the reads of sessions know, for the watchers that have missed something meanwhile.
    /// - Returns: The actions.
    mutating func completed(_ answer: Answer, reads: SessionReads) -> [Action] {
        switch answer {
        case .catchUp(let answers):
            catchUps.completed(answers, in: &table, rights: &rights, reads: reads).flatMap { perform($0) }
        case .sweep(let lost):
            rights.completedSweep(lost: lost, in: table).flatMap { revoke($0.watcher, $0.session) }
        case .followers(let answer):
            followers.completed(answer, in: table, rights: &rights).flatMap { perform($0) }
        }
    }

    /// A read for watchers failed: everything that it was for is still wanted.
    mutating func failed(_ read: Read) {
        switch read {
        case .catchUp: catchUps.failed(in: table)
        case .sweep: rights.failedSweep()
        case .followers(let read): followers.failed(read)
        }
    }

    private mutating func perform(_ action: CatchUps.Action) -> [Action] {
        switch action {
        case .deliver(let delivery): [.deliver(delivery)]
        case .revoke(let request): revoke(request.watcher, request.session)
        }
    }

    private mutating func perform(_ action: Followers.Action) -> [Action] {
        switch action {
        case .deliver(let delivery): [.deliver(delivery)]
        case .revoke(let id): revoke(id, nil)
        case .pause(let session): [.pause(session)]
        case .shown(let change): [.shown(change)]
        }
    }

    private mutating func revoke(_ id: WatcherID, _ session: SessionID?) -> [Action] {
        ended(id) ? [.deliver(Delivery(.revoked(session), to: [id]))] : []
    }
}
