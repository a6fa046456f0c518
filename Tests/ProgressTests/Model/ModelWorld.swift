import Domain
import PropertySupport
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
    var rightsHints = 0
    /// The number of polls.
    var polls = 0
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

    /// The database announces a change of a session, perhaps twice.
    mutating func announce(_ session: SessionID, _ version: Int64) {
        guard delivery != .lossy || chance(70) else { return }
        for _ in 0..<(chance(20) ? 2 : 1) { hints.append((session, version)) }
    }

    /// The database announces a change of rights.
    mutating func announceRights() { if delivery != .lossy || chance(70) { rightsHints += 1 } }

    /// The database announces a percentage only if the last announcement of its session is 500 ms old.
    func isAnnounced(isTransition: Bool, lastAt: Int) -> Bool { isTransition || time - lastAt >= 50 }
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
                guard let due = machine.due else { return }
                while now < due { history.time += 1 }
                passTime()
            }
        }
    }

    // MARK: Reads

    /// The answer to a read reaches the hub, or is lost.
    mutating func land(_ read: HubRead, _ answer: HubAnswer) {
        guard isSettling || !chance(15) else { return fail(read) }
        perform(machine.completed(answer, at: now), epoch: answer.epoch)
    }

    private mutating func fail(_ read: HubRead) {
        // Mostly the hub may read again at once, because no other read begins while it waits.
        let isAtOnce = chance(80)
        let actions = machine.failed(
            read, FakeReader.Down(), isCancelled: false, jitter: isAtOnce ? 0 : 0.2, at: now)
        perform(actions, epoch: nil)
        if isAtOnce { passTime() }
    }

    // MARK: Events

    mutating func deliverHint() {
        guard !history.hints.isEmpty else { return }
        let index = Int.random(in: history.hints.indices, using: &history.random)
        let (session, version) = history.hints.remove(at: index)
        machine.hint(session, version: version)
    }

    mutating func deliverRightsHint() {
        guard history.rightsHints > 0 else { return }
        history.rightsHints -= 1
        machine.rightsChanged()
    }

    mutating func passTime() { machine.timeIs(now) }

    /// The hub polls, and something was committed since the last poll.
    mutating func poll() {
        history.polls += 1
        perform(machine.completed(.databaseSnapshot("\(history.polls)"), at: now), epoch: nil)
    }
}
