import Domain
import Store
import Testing

@testable import Progress

/// The world of watchers of one session each, and of local subscribers.
struct HubWorld: ModelWorld {
    /// The largest number of pending subscriptions.
    static let waitingLimit = 4

    struct Row {
        var version: Int64 = 1
        var transitions: [Int64] = [1]
        var isFailed = false
        var announcedAt = 0
    }

    var history: ModelHistory
    var machine = HubStateMachine(
        admission: StreamAdmission(limit: 8, limitPerUser: 4),
        limits: PendingSubscriptions.Limits(waiting: waitingLimit, batch: 3, statements: 2), readLimit: 2,
        pollInterval: .seconds(3600))

    // MARK: The database
    let sessions = (0..<5).compactMap { SessionID("00000000-0000-4000-8000-00000000000\($0)") }
    let users = sampleUsers
    var rows: [SessionID: Row] = [:]
    var nextTransaction: Int64 = 10
    /// The deleted sessions.
    ///
    /// No identifier is used again.
    var deleted: Set<SessionID> = []
    /// The rights under each epoch.
    ///
    /// The first epoch is 1.
    var rights: [Set<Right>] = []

    // MARK: Reads under way
    var readings: [ReadingFlight?] = [nil, nil]
    var catchUp: CatchUpFlight?
    var sweep: SweepFlight?
    var subscriptions: [SubscriptionFlight] = []

    // MARK: Watchers
    var clients: [Client] = []
    var localSubscribers: [LocalSubscriber] = []
    /// The watchers that have left.
    var departed: [WatcherID] = []

    init(seed: UInt64, delivery: HintDelivery) {
        history = ModelHistory(seed: seed, delivery: delivery)
        // The last two sessions are created later. All users have rights to them from the beginning.
        for session in sessions.prefix(3) { rows[session] = Row() }
        rights = [Set(users.flatMap { user in sessions.map { Right(user: user, session: $0) } })]
    }

    // MARK: - Events

    mutating func step() {
        history.time += 1
        switch Int.random(in: 0..<26, using: &history.random) {
        case 0...2: commit(pick(sessions))
        case 3: changeRights()
        case 4: createOrDelete()
        case 5, 6: subscribe()
        case 7, 8: attach()
        case 9: block()
        case 10, 11: drain()
        case 12: leave()
        case 13...15: deliverOrForgeHint()
        case 16: deliverRightsHint()
        case 17: startReads()
        case 18, 19: answerReads()
        case 20, 21: landReads()
        case 22: passTime()
        case 23: pollNowAndThen()
        case 24: subscribeLocallyOrLeave()
        default: disturb()
        }
        if time.isMultiple(of: 25) { checkBooks() }
    }

    /// A transaction takes no time in this world.
    mutating func finishTransactions() {}

    var isReading: Bool {
        readings.contains { $0 != nil } || catchUp != nil || sweep != nil || !subscriptions.isEmpty
            || history.rightsRead != nil
    }

    // MARK: - The database

    private mutating func commit(_ session: SessionID) {
        guard var row = rows[session] else { return }
        let transaction = nextTransaction
        nextTransaction += 1
        row.version += 1
        let isTransition = row.isFailed || chance(40)
        row.isFailed = !row.isFailed && isTransition && chance(10)
        if isTransition { row.transitions.append(row.version) }
        let isAnnounced = history.isAnnounced(isTransition: isTransition, lastAt: row.announcedAt)
        if isAnnounced { row.announcedAt = time }
        rows[session] = row
        if isAnnounced { history.announce(session, row.version, in: transaction) }
    }

    private mutating func changeRights() {
        let right = Right(user: pick(users), session: pick(sessions))
        guard !deleted.contains(right.session) else { return }
        var present = rights[rights.count - 1]
        // Most rights stay, because otherwise no client could watch.
        if present.contains(right) {
            if chance(60) { present.remove(right) }
        } else {
            present.insert(right)
        }
        change(present, chance(5) ? RightsChange(in: 0) : RightsChange(in: 0, user: right.user.user))
    }

    /// Changes the rights, and names whom the change concerns.
    private mutating func change(_ present: Set<Right>, _ concern: RightsChange) {
        var concern = concern
        concern.transaction = nextTransaction
        nextTransaction += 1
        rights.append(present)
        beginEpoch([concern], in: concern.transaction)
    }

    private mutating func createOrDelete() {
        let session = pick(sessions)
        if rows[session] != nil {
            guard chance(5) else { return }
            rows[session] = nil
            deleted.insert(session)
            history.announce(session, 0, in: nextTransaction)
            change(
                rights[rights.count - 1].filter { $0.session != session }, RightsChange(in: 0, session: session))
        } else if !deleted.contains(session), chance(30) {
            rows[session] = Row(announcedAt: time)
            history.announce(session, 1, in: nextTransaction)
            nextTransaction += 1
        }
    }

    var epoch: Int64 { Int64(rights.count) }
    var present: DatabaseSnapshot { snapshot(nextTransaction) }

    func had(_ right: Right, at epoch: Int64) -> Bool { rights[Int(epoch) - 1].contains(right) }

    /// What a read after a version finds about a session.
    func read(_ session: SessionID, after version: Int64) -> SessionReading? {
        rows[session].map { row in
            SessionReading(
                progress: sample(session, version: row.version, status: row.isFailed ? .failed : .transcribing),
                transitions: row.transitions.filter { $0 > version }.map { transition($0) })
        }
    }
}

/// The right of a user to a session.
struct Right: Hashable {
    var user: Principal
    var session: SessionID
}
