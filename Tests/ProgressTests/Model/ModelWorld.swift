import Domain
import PropertySupport
import Store
import Testing

@testable import Progress

/// What happens to hints in a history, and whether the hub polls.
enum HintDelivery: CaseIterable {
    /// Hints and changes of rights may be lost. The hub polls now and then, and once at the end.
    case lossy
    /// Every hint arrives, in any order. The hub never polls.
    case lossless
    /// Every hint arrives before the poll after the next. The hub must not count the changes as found by the poll alone.
    case late
}

/// The state that the worlds of the model tests share: time, chance, and what is under way between the database and the hub.
struct ModelHistory {
    private static let beginning = ContinuousClock.now
    private static let step = Duration.milliseconds(10)

    let seed: UInt64
    let delivery: HintDelivery
    /// The number of steps so far.
    ///
    /// A step takes 10 ms.
    var time = 0
    /// A promise was broken, and the history ends.
    private(set) var isBroken = false
    /// No read, hint or message is lost any more.
    var isSettling = false
    var hints: [(session: SessionID, version: Int64)] = []
    /// The hints that were sent, whether they arrive or not.
    private(set) var hintLog: [(transaction: Int64, session: SessionID, version: Int64)] = []
    /// The database snapshot of the last poll.
    var lastPoll: DatabaseSnapshot?
    var rightsHints = 0
    var rightsRead: RightsFlight?
    /// The log of rights.
    var changes: [RightsChange] = []
    /// The transaction that began each epoch after the first.
    var epochs: [Int64] = []
    /// The last transaction whose changes were removed from the log.
    var horizon: Int64 = 0
    var random: SeededGenerator

    init(seed: UInt64, delivery: HintDelivery) {
        self.seed = seed
        self.delivery = delivery
        random = SeededGenerator(seed: seed)
    }

    var now: ContinuousClock.Instant { Self.beginning + Self.step * time }

    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

    mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[Int.random(in: elements.indices, using: &random)]
    }

    /// Checks a promise.
    ///
    /// `#expect` is too slow for this number of checks.
    mutating func check(_ isKept: Bool, _ promise: @autoclosure () -> String) {
        guard !isKept, !isBroken else { return }
        isBroken = true
        Issue.record("\(promise()) (\(delivery), seed \(seed), step \(time))")
    }

    /// A transaction announces a change of a session, perhaps twice.
    mutating func announce(_ session: SessionID, _ version: Int64, in transaction: Int64) {
        hintLog.append((transaction, session, version))
        guard delivery != .lossy || chance(70) else { return }
        for _ in 0..<(chance(20) ? 2 : 1) { hints.append((session, version)) }
    }

    /// The database announces a change of rights.
    mutating func announceRights() { if delivery != .lossy || chance(70) { rightsHints += 1 } }

    /// The database announces a percentage only if the last announcement of its session is 500 ms old.
    func isAnnounced(isTransition: Bool, lastAt: Int) -> Bool { isTransition || time - lastAt >= 50 }
}

/// A read of the log of rights, and its answer once the database has read.
struct RightsFlight {
    let since: DatabaseSnapshot?
    var answer: RightsNews?
}

/// The surroundings of a state machine: a small database, hints that arrive late and out of order, slow reads that may fail,
/// and clients that subscribe, leave, and read slowly.
protocol ModelWorld {
    var history: ModelHistory { get set }
    var machine: HubStateMachine { get set }
    /// Whether a read is under way.
    var isReading: Bool { get }

    /// One event happens.
    mutating func step()
    /// Commits what is still under way in the database.
    mutating func finishTransactions()
    /// Gives every client that has begun a socket with room.
    mutating func serveClients()
    mutating func startReads()
    /// The database answers reads with what it contains now. While the history settles, it answers all of them.
    mutating func answerReads()
    /// Answers reach the hub, or are lost. While the history settles, none is lost.
    mutating func landReads()
    /// Performs actions as the hub does.
    mutating func perform(_ actions: [HubAction], epoch: Int64?)
    /// The present snapshot of the database.
    var present: DatabaseSnapshot { get }
    var nextTransaction: Int64 { get set }
    /// Checks what every client has after the history has settled.
    mutating func checkTheEnd()
}

extension ModelWorld {
    var time: Int { history.time }
    var now: ContinuousClock.Instant { history.now }
    var isBroken: Bool { history.isBroken }
    var isSettling: Bool { history.isSettling }

    /// The users of both worlds.
    static var sampleUsers: [Principal] {
        (0..<3).map { number in
            Principal(
                user: UserID("10000000-0000-4000-8000-00000000000\(number)") ?? .random(),
                signIn: SignInID("20000000-0000-4000-8000-00000000000\(number)") ?? .random())
        }
    }

    mutating func chance(_ percent: Int) -> Bool { history.chance(percent) }
    mutating func pick<Element>(_ elements: [Element]) -> Element { history.pick(elements) }
    mutating func pickAny<Element>(_ elements: [Element]) -> Element? { elements.isEmpty ? nil : pick(elements) }
    mutating func check(_ isKept: Bool, _ promise: @autoclosure () -> String) { history.check(isKept, promise()) }

    /// Runs the history of a seed, and checks all promises.
    mutating func run() {
        for _ in 0..<400 where !isBroken { step() }
        settle()
        checkTheEnd()
    }

    /// Nothing more is committed, everything under way arrives, and every socket has room.
    private mutating func settle() {
        finishTransactions()
        history.isSettling = true
        if history.delivery == .lossy { poll() }
        while !isBroken {
            serveClients()
            while !history.hints.isEmpty { deliverHint() }
            while history.rightsHints > 0 { deliverRightsHint() }
            startReads()
            if isReading {
                answerReads()
                landReads()
            } else {
                guard let due = machine.due else {
                    check(machine.oldestHint == nil, "no hint waits for ever")
                    check(machine.feedBehindSince == nil, "the feed is up to date")
                    check(!machine.isResyncing, "every resync ends")
                    return
                }
                while now < due { history.time += 1 }
                passTime()
            }
        }
    }

    // MARK: Reads

    /// What a read of the log of rights finds now.
    func rightsNews(since earlier: DatabaseSnapshot?) -> RightsNews {
        let changes = earlier.map { snapshot in
            history.changes.filter { $0.transaction > history.horizon && !snapshot.shows($0.transaction) }
        }
        return RightsNews(at: present, changes: changes, horizon: history.horizon)
    }

    /// The number of the epoch that a snapshot shows.
    func epoch(at snapshot: DatabaseSnapshot) -> Int64 { Int64(1 + history.epochs.count { snapshot.shows($0) }) }

    /// The last epoch that the hub knows.
    var knownEpoch: Int64 { machine.watchers.rights.snapshot.map { epoch(at: $0) } ?? 1 }

    /// A transaction changes rights, and says whom that concerns.
    mutating func beginEpoch(_ concerns: [RightsChange], in transaction: Int64) {
        history.epochs.append(transaction)
        history.changes += concerns
        history.announceRights()
    }

    /// Removes the changes of rights that every snapshot shows from now on.
    mutating func pruneRights() { history.horizon = present.oldest - 1 }

    /// The answer to a read reaches the hub, or is lost.
    ///
    /// - Parameters:
    ///   - read: The read.
    ///   - answer: The answer.
    ///   - epoch: The epoch of its database snapshot.
    mutating func land(_ read: HubRead, _ answer: HubAnswer, epoch: Int64?) {
        guard isSettling || !chance(15) else { return fail(read) }
        perform(machine.completed(answer, at: now), epoch: epoch)
    }

    mutating func startRightsRead() {
        guard case .rights(let snapshot)? = machine.nextRead(.rights) else { return }
        check(history.rightsRead == nil, "one read of the log of rights at a time")
        history.rightsRead = RightsFlight(since: snapshot)
    }

    mutating func answerRightsRead() {
        guard let read = history.rightsRead, read.answer == nil, isSettling || chance(50) else { return }
        let news = rightsNews(since: read.since)
        history.rightsRead?.answer = news
    }

    mutating func landRightsRead() {
        guard let read = history.rightsRead, let answer = read.answer else { return }
        history.rightsRead = nil
        land(.rights(since: read.since), .rights(answer), epoch: nil)
    }

    private mutating func fail(_ read: HubRead) {
        // Mostly the hub may read again at once, because no other read begins while it waits.
        let isAtOnce = chance(80)
        let actions = machine.failed(
            read, FakeReader.Down(), isCancelled: false, jitter: isAtOnce ? 0 : 0.2, at: now)
        perform(actions, epoch: nil)
        if isAtOnce { passTime() }
    }

    // MARK: Metrics

    /// Checks a change that the metrics count.
    mutating func checkShown(_ change: ShownChange, streams: ShownChange.Streams) {
        check(change.streams == streams, "a change counts for the streams that got it")
        switch change.cause {
        case .hint(let moment): check(moment <= now, "a hint came before its change was shown")
        case .poll: check(history.delivery != .lossless, "without a poll, no change counts as found by one")
        case .resync: check(history.delivery != .lossless, "without a resync, no change counts as found by one")
        case .other: break
        }
    }

    mutating func checkResync(_ duration: Duration) {
        // A poll that ends an outage begins a resync.
        check(history.delivery != .lossless, "without a resync, none is measured")
        check(duration >= .zero, "a resync takes time")
    }

    // MARK: Events

    mutating func deliverHint() {
        guard !history.hints.isEmpty else { return }
        let index = Int.random(in: history.hints.indices, using: &history.random)
        let (session, version) = history.hints.remove(at: index)
        machine.hint(session, version: version, at: now)
    }

    mutating func deliverRightsHint() {
        guard history.rightsHints > 0 else { return }
        history.rightsHints -= 1
        machine.rightsChanged()
    }

    mutating func passTime() { machine.timeIs(now) }

    /// The hub polls, and something was committed since the last poll.
    ///
    /// The first poll cannot name what.
    mutating func poll() {
        nextTransaction += 1
        let rights = rightsNews(since: machine.watchers.rights.snapshot)
        let news = HintNews(rights: rights, versions: history.lastPoll.flatMap { hints(since: $0) })
        history.lastPoll = present
        perform(machine.completed(.poll(news), at: now), epoch: nil)
    }

    /// The hints that were sent since a snapshot; nil if some were removed.
    private func hints(since earlier: DatabaseSnapshot) -> [SessionID: Int64]? {
        guard earlier.oldest > history.horizon else { return nil }
        var versions: [SessionID: Int64] = [:]
        for (transaction, session, version) in history.hintLog where !earlier.shows(transaction) {
            // A transaction that is in progress is not shown yet, but the later poll shows it.
            guard present.shows(transaction) else { continue }
            versions[session] = version == 0 || versions[session] == 0 ? 0 : max(versions[session] ?? 0, version)
        }
        return versions
    }
}
