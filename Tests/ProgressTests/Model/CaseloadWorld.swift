import Domain
import PropertySupport
import Testing

@testable import Progress
@testable import Store

/// The surroundings of those who follow all sessions: a small database with transactions that commit late, wires on which
/// hints come out of order, slow reads that may fail, and clients who block, drain, and come back with the position of the
/// last whole event that they got.
struct CaseloadWorld {
    static let quiet = 50
    static let step = Duration.milliseconds(10)
    private static let beginning = ContinuousClock.now

    /// What happens to hints, and whether the poll runs.
    enum Manner: CaseIterable {
        /// Hints and changes of rights may be lost; there is a poll now and then, and one in the end.
        case lossy
        /// Every hint comes, in whatever order, and there is no poll.
        case lossless
    }

    struct Transition {
        let version: Int64
        let status: SessionStatus
        let transaction: Int64
        let epoch: Int64
    }

    struct Row {
        let patient: UserID
        let created: Int
        var version: Int64 = 1
        var status = SessionStatus.pending
        var transitions: [Transition] = []
        var announcedAt = 0
    }

    /// A transaction that has taken its number and holds a session; nil makes one.
    struct Late {
        let transaction: Int64
        let session: SessionID?
    }

    let seed: UInt64
    let manner: Manner
    var random: SeededGenerator
    var machine = HubStateMachine(readLimit: 2, pollInterval: .seconds(3600))
    var time = 0
    var now: ContinuousClock.Instant { Self.beginning + Self.step * time }
    var isBroken = false
    var isSettling = false

    // MARK: The database
    let patients = (0..<3).compactMap { UserID("30000000-0000-4000-8000-00000000000\($0)") }
    /// The first sees everybody's sessions.
    let users = (0..<3).map { number in
        Principal(
            user: UserID("10000000-0000-4000-8000-00000000000\(number)") ?? .random(),
            signIn: SignInID("20000000-0000-4000-8000-00000000000\(number)") ?? .random())
    }
    var rows: [SessionID: Row] = [:]
    var made = 0
    var deleted: [(session: SessionID, patient: UserID, transaction: Int64)] = []
    var nextTransaction: Int64 = 10
    var late: [Late] = []
    /// Whose sessions each may see, under each epoch, the first of which is 1; none for whom may not come in.
    var rights: [[Principal: CaseloadScope]] = []
    var lostAt: [Right: Int] = [:]
    /// Whose sessions they may see again who may not come in at present.
    var suspended: [Principal: CaseloadScope] = [:]

    // MARK: On their way
    var hints: [(session: SessionID, version: Int64)] = []
    var rightsHints = 0
    var polls = 0
    var openings: [OpeningFlight] = []
    var feeds: [FeedFlight] = []
    var reads: [ReadFlight] = []
    var epochRead: EpochFlight?

    // MARK: Those who follow
    var clients: [Client] = []

    /// That a user may see the sessions of a patient.
    struct Right: Hashable {
        var user: Principal
        var patient: UserID
    }

    init(seed: UInt64, manner: Manner) {
        self.seed = seed
        self.manner = manner
        random = SeededGenerator(seed: seed)
        rights = [
            [users[0]: .everybody, users[1]: .patients(Set(patients.prefix(2))), users[2]: .patients([patients[0]])]
        ]
        for _ in 0..<3 { make() }
        hints = []
    }

    // MARK: - What happens

    mutating func step() {
        time += 1
        switch Int.random(in: 0..<28, using: &random) {
        case 0...3: commit()
        case 4: if made < 12, chance(50) { make() }
        case 5: if chance(50) { delete() }
        case 6: if chance(60) { changeRights() }
        case 7: beginLate()
        case 8: commitLate()
        case 9, 10: open()
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
        default:
            machine.regularCheckIsDue(share: 0.1)
            if manner == .lossy, chance(20) { if chance(50) { poll() } else { machine.resync() } }
        }
    }

    /// Nothing more is committed, everything under way arrives, and everybody has room.
    mutating func settle() {
        while !late.isEmpty { commitLate() }
        isSettling = true
        if manner == .lossy { poll() }
        while !isBroken {
            endOpenings()
            while !hints.isEmpty { deliverHint() }
            while rightsHints > 0 { deliverRightsHint() }
            startReads()
            if !openings.isEmpty || !feeds.isEmpty || !reads.isEmpty || epochRead != nil {
                answerReads()
                landReads()
            } else {
                guard let due = machine.due else { return }
                while now < due { time += 1 }
                passTime()
            }
        }
    }

    // MARK: - The database

    var epoch: Int64 { Int64(rights.count) }

    /// What is committed at this moment.
    var position: FeedPosition {
        let inProgress = late.map(\.transaction).sorted()
        let bounds = [inProgress.first ?? nextTransaction, nextTransaction]
        return FeedPosition(id: (bounds + inProgress).map(String.init).joined(separator: "."))
            ?? FeedPosition(snapshot: "3:3:")
    }

    private mutating func takeTransaction() -> Int64 {
        nextTransaction += 1
        return nextTransaction - 1
    }

    private mutating func make(in transaction: Int64? = nil) {
        let number = made < 10 ? "0\(made)" : "\(made)"
        guard let session = SessionID("00000000-0000-4000-8000-0000000000\(number)") else { return }
        made += 1
        var row = Row(patient: pick(patients), created: time, announcedAt: time)
        row.transitions = [
            Transition(version: 1, status: .pending, transaction: transaction ?? takeTransaction(), epoch: epoch)
        ]
        rows[session] = row
        announce(session, 1)
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
        let isAnnounced = isTransition || time - row.announcedAt >= Self.quiet
        if isAnnounced { row.announcedAt = time }
        rows[session] = row
        if isAnnounced { announce(session, row.version) }
    }

    private mutating func delete() {
        guard let session = pickAny(free), let row = rows[session] else { return }
        rows[session] = nil
        deleted.append((session, row.patient, takeTransaction()))
        announce(session, 0)
        bumpEpoch(rights[rights.count - 1])
    }

    private mutating func beginLate() {
        guard late.count < 2 else { return }
        let session = chance(20) && made + late.count < 12 ? nil : pickAny(free)
        late.append(Late(transaction: takeTransaction(), session: session))
    }

    private mutating func commitLate() {
        guard let next = pickAny(late) else { return }
        late.removeAll { $0.transaction == next.transaction }
        if let session = next.session {
            advance(session, in: next.transaction)
        } else if made < 12 {
            make(in: next.transaction)
        }
    }

    private mutating func announce(_ session: SessionID, _ version: Int64) {
        guard manner != .lossy || chance(70) else { return }
        for _ in 0..<(chance(20) ? 2 : 1) { hints.append((session, version)) }
    }

    private mutating func changeRights() {
        var present = rights[rights.count - 1]
        let user = users[chance(50) ? 1 : 2]
        if case .patients(var mine)? = present[user] {
            if chance(4) {
                suspended[user] = .patients(mine)
                present[user] = nil
            } else {
                let patient = pick(patients)
                if mine.remove(patient) == nil {
                    mine.insert(patient)
                } else {
                    lostAt[Right(user: user, patient: patient)] = time
                }
                present[user] = .patients(mine)
            }
        } else {
            present[user] = suspended[user]
        }
        bumpEpoch(present)
    }

    private mutating func bumpEpoch(_ present: [Principal: CaseloadScope]) {
        _ = takeTransaction()
        rights.append(present)
        if manner != .lossy || chance(70) { rightsHints += 1 }
    }

    func may(_ user: Principal, see patient: UserID, at epoch: Int64) -> Bool {
        rights[Int(epoch) - 1][user]?.contains(patient) ?? false
    }

    // MARK: - Tools

    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

    mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[Int.random(in: elements.indices, using: &random)]
    }

    mutating func pickAny<Element>(_ elements: [Element]) -> Element? { elements.isEmpty ? nil : pick(elements) }

    /// Checks a promise; `#expect` would be too slow for so many.
    mutating func check(_ isKept: Bool, _ promise: @autoclosure () -> String) {
        guard !isKept, !isBroken else { return }
        isBroken = true
        Issue.record("\(promise()) (\(manner), seed \(seed), step \(time))")
    }
}
