import Domain
import Testing

@testable import Progress
@testable import Store

/// The world of followers: transactions commit late, and clients reconnect with the position of the last whole event that
/// they got.
struct CaseloadWorld: ModelWorld {
    struct Transition {
        let version: Int64
        let status: SessionStatus
        let transaction: Int64
        let epoch: Int64
    }

    struct Row {
        var patient: UserID
        let created: Int
        var version: Int64 = 1
        var status = SessionStatus.pending
        var transitions: [Transition] = []
        var announcedAt = 0
    }

    /// A transaction that has its number and has locked a session; without a session, it creates one.
    struct Late {
        let transaction: Int64
        let session: SessionID?
    }

    var history: ModelHistory
    var machine = HubStateMachine(readLimit: 2, pollInterval: .seconds(3600))

    // MARK: The database
    let patients = (0..<3).compactMap { UserID("30000000-0000-4000-8000-00000000000\($0)") }
    /// The first user may see all sessions.
    let users = sampleUsers
    var rows: [SessionID: Row] = [:]
    /// The number of sessions that were created.
    var created = 0
    var deleted: [(session: SessionID, patient: UserID, transaction: Int64)] = []
    /// The patients of each session, deleted ones included, and the epochs from which it was theirs.
    var owners: [SessionID: [(since: Int64, patient: UserID)]] = [:]
    var nextTransaction: Int64 = 10
    var late: [Late] = []
    /// The patients whose sessions each user may see, under each epoch.
    ///
    /// A user without an entry is signed out. The first epoch is 1.
    var rights: [[Principal: CaseloadScope]] = []
    var lostAt: [Right: Int] = [:]
    /// The scopes of the users that are signed out, for their next sign-in.
    var suspended: [Principal: CaseloadScope] = [:]

    // MARK: Reads under way
    var subscriptions: [SubscriptionFlight] = []
    var feeds: [FeedFlight] = []
    var reads: [ReadFlight] = []

    // MARK: Followers
    var clients: [Client] = []

    /// The right of a user to the sessions of a patient.
    struct Right: Hashable {
        var user: Principal
        var patient: UserID
    }

    init(seed: UInt64, delivery: HintDelivery) {
        history = ModelHistory(seed: seed, delivery: delivery)
        rights = [
            [users[0]: .everybody, users[1]: .patients(Set(patients.prefix(2))), users[2]: .patients([patients[0]])]
        ]
        for _ in 0..<3 { create() }
        history.hints = []
    }

    // MARK: - Events

    mutating func step() {
        history.time += 1
        switch Int.random(in: 0..<29, using: &history.random) {
        case 0...3: commit()
        case 4: if created < 12, chance(50) { create() }
        case 5: if chance(50) { delete() }
        case 6: if chance(60) { changeRights() }
        case 7: beginLate()
        case 8: commitLate()
        case 9, 10: connect()
        case 11: readCaseload()
        case 12: begin()
        case 13: attach()
        case 14: block()
        case 15, 16: drain()
        case 17: leave()
        case 18, 19: deliverHint()
        case 20: deliverRightsHint()
        case 21: startReads()
        case 22, 23: answerReads()
        case 24, 25: landReads()
        case 26: passTime()
        case 27: if chance(40) { move() }
        default:
            machine.regularCheckIsDue(share: 0.1)
            if chance(10) { pruneRights() }
            if history.delivery == .lossy, chance(20) { if chance(50) { poll() } else { machine.resync(at: now) } }
        }
    }

    mutating func finishTransactions() { while !late.isEmpty { commitLate() } }

    var isReading: Bool { !subscriptions.isEmpty || !feeds.isEmpty || !reads.isEmpty || history.rightsRead != nil }

    // MARK: - The database

    var epoch: Int64 { Int64(rights.count) }

    var present: DatabaseSnapshot {
        let inProgress = late.map(\.transaction).sorted()
        return DatabaseSnapshot(
            on: snapshot(nextTransaction).timeline, oldest: inProgress.first ?? nextTransaction, next: nextTransaction,
            inProgress: inProgress)
    }
    var position: FeedPosition { FeedPosition(present) }

    private mutating func takeTransaction() -> Int64 {
        nextTransaction += 1
        return nextTransaction - 1
    }

    private mutating func create(in transaction: Int64? = nil) {
        let number = created < 10 ? "0\(created)" : "\(created)"
        guard let session = SessionID("00000000-0000-4000-8000-0000000000\(number)") else { return }
        created += 1
        var row = Row(patient: pick(patients), created: time, announcedAt: time)
        let transaction = transaction ?? takeTransaction()
        row.transitions = [Transition(version: 1, status: .pending, transaction: transaction, epoch: epoch)]
        owners[session] = [(1, row.patient)]
        rows[session] = row
        history.announce(session, 1, in: transaction)
    }

    private var free: [SessionID] {
        rows.keys.filter { session in !late.contains { $0.session == session } }.sorted()
    }

    private mutating func commit() {
        guard let session = pickAny(free) else { return }
        advance(session, in: takeTransaction())
    }

    private mutating func advance(_ session: SessionID, in transaction: Int64) {
        guard var row = rows[session], row.status != .processed else { return }
        row.version += 1
        let status: SessionStatus
        switch row.status {
        case .failed: status = .pending
        case .pending: status = .transcribing
        case let present where chance(55): status = present
        case .transcribing: status = chance(20) ? .failed : .transcribed
        default: status = chance(10) ? .failed : .processed
        }
        let isTransition = status != row.status
        row.status = status
        if isTransition {
            row.transitions.append(
                Transition(version: row.version, status: status, transaction: transaction, epoch: epoch))
        }
        let isAnnounced = history.isAnnounced(isTransition: isTransition, lastAt: row.announcedAt)
        if isAnnounced { row.announcedAt = time }
        rows[session] = row
        if isAnnounced { history.announce(session, row.version, in: transaction) }
    }

    private mutating func delete() {
        guard let session = pickAny(free), let row = rows[session] else { return }
        rows[session] = nil
        let transaction = takeTransaction()
        deleted.append((session, row.patient, transaction))
        history.announce(session, 0, in: transaction)
        change(rights[rights.count - 1], RightsChange(in: 0, session: session))
    }

    /// A session that is not processed moves to another patient.
    private mutating func move() {
        guard let session = pickAny(free.filter { rows[$0]?.status != .processed }), let before = rows[session]?.patient
        else { return }
        let patient = pick(patients.filter { $0 != before })
        rows[session]?.patient = patient
        let next = epoch + 1
        owners[session]?.append((next, patient))
        change(
            rights[rights.count - 1], RightsChange(in: 0, patient: before, session: session),
            RightsChange(in: 0, patient: patient, session: session))
    }

    private mutating func beginLate() {
        guard late.count < 2 else { return }
        let session = chance(20) && created + late.count < 12 ? nil : pickAny(free)
        late.append(Late(transaction: takeTransaction(), session: session))
    }

    private mutating func commitLate() {
        guard let next = pickAny(late) else { return }
        late.removeAll { $0.transaction == next.transaction }
        if let session = next.session {
            advance(session, in: next.transaction)
        } else if created < 12 {
            create(in: next.transaction)
        }
    }

    private mutating func changeRights() {
        var present = rights[rights.count - 1]
        let user = users[chance(50) ? 1 : 2]
        var concern = RightsChange(in: 0, user: user.user)
        if case .patients(var patientsOfUser)? = present[user] {
            if chance(4) {
                concern.signIn = user.signIn
                suspended[user] = .patients(patientsOfUser)
                present[user] = nil
            } else {
                let patient = pick(patients)
                concern.patient = patient
                if patientsOfUser.remove(patient) == nil {
                    patientsOfUser.insert(patient)
                } else {
                    lostAt[Right(user: user, patient: patient)] = time
                }
                present[user] = .patients(patientsOfUser)
            }
        } else {
            present[user] = suspended[user]
        }
        change(present, concern)
    }

    /// Changes the rights, and names whom the change concerns.
    private mutating func change(_ present: [Principal: CaseloadScope], _ concerns: RightsChange...) {
        let transaction = takeTransaction()
        rights.append(present)
        let concerns = concerns.map { concern in
            var concern = concern
            concern.transaction = transaction
            return concern
        }
        beginEpoch(concerns, in: transaction)
    }

    func may(_ user: Principal, see patient: UserID, at epoch: Int64) -> Bool {
        rights[Int(epoch) - 1][user]?.contains(patient) ?? false
    }

    func may(_ user: Principal, see session: SessionID, at epoch: Int64) -> Bool {
        patient(of: session, at: epoch).map { may(user, see: $0, at: epoch) } ?? false
    }

    /// The patient whose session this was in an epoch.
    func patient(of session: SessionID, at epoch: Int64) -> UserID? {
        owners[session]?.last { $0.since <= epoch }?.patient
    }
}
