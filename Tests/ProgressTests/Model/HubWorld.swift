import Domain
import PropertySupport
import Testing

@testable import Progress

/// The hub's surroundings: a small database, wires on which hints come late and out of order, slow reads that may fail, and
/// clients who come and go, block and drain.
///
/// A step takes 10 ms. The database announces a percentage when the last announcement of its session is ``quiet`` old: 500 ms,
/// as in real life.
struct HubWorld {
    static let quiet = 50
    static let step = Duration.milliseconds(10)
    /// So many may wait to be let in.
    static let waitingLimit = 4
    private static let beginning = ContinuousClock.now

    /// What happens to hints, and whether the poll runs.
    enum Manner: CaseIterable {
        /// Hints and changes of rights may be lost; there is a poll now and then, and one in the end.
        case lossy
        /// Every hint comes, in whatever order, and there is no poll.
        case lossless
        /// Every hint comes before the next poll but one: the poll must not believe that it was needed.
        case late
    }

    struct Row {
        var version: Int64 = 1
        var transitions: [Int64] = [1]
        var isFailed = false
        var announcedAt = 0
    }

    let seed: UInt64
    let manner: Manner
    var random: SeededGenerator
    var machine = HubStateMachine(
        admission: StreamAdmission(limit: 8, limitPerUser: 4),
        limits: Openings.Limits(waiting: waitingLimit, batch: 3, statements: 2), readLimit: 2,
        pollInterval: .seconds(3600))
    var time = 0
    var now: ContinuousClock.Instant { Self.beginning + Self.step * time }
    /// A promise was broken: the history ends here.
    var isBroken = false
    /// Nothing goes wrong any more.
    var isSettling = false

    // MARK: The database
    let sessions = (0..<5).compactMap { SessionID("00000000-0000-4000-8000-00000000000\($0)") }
    let users = (0..<3).map { number in
        Principal(
            user: UserID("10000000-0000-4000-8000-00000000000\(number)") ?? .random(),
            signIn: SignInID("20000000-0000-4000-8000-00000000000\(number)") ?? .random())
    }
    var rows: [SessionID: Row] = [:]
    /// Sessions that were deleted: no id comes again.
    var deleted: Set<SessionID> = []
    /// Who had a right to which session under each epoch, the first of which is 1.
    var rights: [Set<Right>] = []

    // MARK: On their way
    var hints: [(session: SessionID, version: Int64)] = []
    var rightsHints = 0
    var polls = 0
    var readings: [ReadingFlight?] = [nil, nil]
    var catchUp: CatchUpFlight?
    var sweep: SweepFlight?
    var openings: [OpeningFlight] = []

    // MARK: Those who watch
    var clients: [Client] = []
    var localSubscribers: [LocalSubscriber] = []
    /// Names that nobody has any more.
    var departed: [WatcherID] = []

    init(seed: UInt64, manner: Manner) {
        self.seed = seed
        self.manner = manner
        random = SeededGenerator(seed: seed)
        // The last two are made later; who may see them may do so from the beginning.
        for session in sessions.prefix(3) { rows[session] = Row() }
        rights = [Set(users.flatMap { user in sessions.map { Right(user: user, session: $0) } })]
    }

    // MARK: - What happens

    /// One thing happens.
    mutating func step() {
        time += 1
        switch Int.random(in: 0..<26, using: &random) {
        case 0...2: commit(pick(sessions))
        case 3: changeRights()
        case 4: makeOrDelete()
        case 5, 6: open()
        case 7, 8: attach()
        case 9: block()
        case 10, 11: drain()
        case 12: leave()
        case 13...15: deliverHint()
        case 16: deliverRightsHint()
        case 17: startReads()
        case 18, 19: answerReads()
        case 20, 21: landReads()
        case 22: passTime()
        case 23: pollNowAndThen()
        case 24: subscribeOrNot()
        default: disturb()
        }
        if time.isMultiple(of: 25) { checkBooks() }
    }

    /// Nothing more is committed, everything under way arrives, and everybody has room.
    mutating func settle() {
        isSettling = true
        if manner == .lossy { poll() }
        while !isBroken {
            endOpenings()
            while !hints.isEmpty { deliverHint() }
            while rightsHints > 0 { deliverRightsHint() }
            startReads()
            if isReading {
                answerReads()
                landReads()
            } else {
                guard let due = machine.due else { return }
                while now < due { time += 1 }
                passTime()
            }
        }
    }

    private var isReading: Bool {
        readings.contains { $0 != nil } || catchUp != nil || sweep != nil || !openings.isEmpty
    }

    // MARK: - The database

    private mutating func commit(_ session: SessionID) {
        guard var row = rows[session] else { return }
        row.version += 1
        let isTransition = row.isFailed || chance(40)
        row.isFailed = !row.isFailed && isTransition && chance(10)
        if isTransition { row.transitions.append(row.version) }
        let isAnnounced = isTransition || time - row.announcedAt >= Self.quiet
        if isAnnounced { row.announcedAt = time }
        rows[session] = row
        if isAnnounced { announce(session, row.version) }
    }

    private mutating func announce(_ session: SessionID, _ version: Int64) {
        guard manner != .lossy || chance(70) else { return }
        for _ in 0..<(chance(20) ? 2 : 1) { hints.append((session, version)) }
    }

    private mutating func changeRights() {
        let right = Right(user: pick(users), session: pick(sessions))
        guard !deleted.contains(right.session) else { return }
        var present = rights[rights.count - 1]
        // More are given back than taken, or nobody would be left to watch.
        if present.contains(right) {
            if chance(60) { present.remove(right) }
        } else {
            present.insert(right)
        }
        bumpEpoch(present)
    }

    private mutating func bumpEpoch(_ present: Set<Right>) {
        rights.append(present)
        if manner != .lossy || chance(70) { rightsHints += 1 }
    }

    private mutating func makeOrDelete() {
        let session = pick(sessions)
        if rows[session] != nil {
            guard chance(5) else { return }
            rows[session] = nil
            deleted.insert(session)
            announce(session, 0)
            bumpEpoch(rights[rights.count - 1].filter { $0.session != session })
        } else if !deleted.contains(session), chance(30) {
            rows[session] = Row(announcedAt: time)
            announce(session, 1)
        }
    }

    var epoch: Int64 { Int64(rights.count) }

    func had(_ right: Right, at epoch: Int64) -> Bool { rights[Int(epoch) - 1].contains(right) }

    /// What a read that asks from a version finds of a session.
    func read(_ session: SessionID, after version: Int64) -> SessionReading? {
        rows[session].map { row in
            SessionReading(
                progress: sample(session, version: row.version, status: row.isFailed ? .failed : .transcribing),
                transitions: row.transitions.filter { $0 > version }.map { transition($0) })
        }
    }

    // MARK: - Tools

    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

    mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[Int.random(in: elements.indices, using: &random)]
    }

    /// Checks a promise; `#expect` would be too slow for so many.
    mutating func check(_ isKept: Bool, _ promise: @autoclosure () -> String) {
        guard !isKept, !isBroken else { return }
        isBroken = true
        Issue.record("\(promise()) (\(manner), seed \(seed), step \(time))")
    }
}

/// That a user may see a session.
struct Right: Hashable {
    var user: Principal
    var session: SessionID
}
