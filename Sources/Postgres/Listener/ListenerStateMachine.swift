/// What a listener does next: a connection is made, LISTEN is sent, the way back is proved, silence is questioned, and
/// after any failure all of it begins anew after a pause.
///
/// One thing is under way at a time: each event returns the one action that follows from it.
struct ListenerStateMachine {
    typealias Instant = ContinuousClock.Instant

    /// The listener's times.
    struct Timing {
        /// After how long without a notification the session is asked whether it still listens.
        var silence: Duration = .seconds(10)
        /// For how long LISTEN, the proof and that question may take.
        var answer: Duration = .seconds(5)
        /// The pause between two attempts after the first failure; doubles with each further one.
        var firstPause: Duration = .milliseconds(100)
        /// The longest pause between the beginnings of two attempts, jitter included.
        var longestPause: Duration = .seconds(5)
    }

    /// What is to be done.
    enum Action: Equatable {
        /// Connect; report `connected` or `failed`.
        case connect
        /// LISTEN on all channels; report `listening` or `failed`.
        case listen
        /// Send a NOTIFY to oneself and wait for it, until a moment; report `proved` or `failed`.
        ///
        /// Over a pooler it has to be sent on another connection: on one's own it would come back before the pooler
        /// takes the server's connection away, and prove nothing.
        case prove(overSecondConnection: Bool, until: Instant)
        /// Tell the consumer that it hears everything from now on, then wait.
        case goLive(waitUntil: Instant)
        /// Wait for notifications; report `heard`, `silent` or `failed`.
        case wait(until: Instant)
        /// Ask for the session's channels, until a moment; report `confirmed` or `failed`.
        case check(until: Instant)
        /// Close what there is, tell the consumer why, pause until a moment, and report `paused`.
        case retreat(ListenerTrouble, until: Instant)
    }

    private enum State: Equatable {
        /// A connection is being made. → listening, pausing
        case connecting
        /// LISTEN is under way. → proving, pausing
        case listening
        /// The way back is being proved. → live, pausing
        case proving
        /// Everything that is sent is heard. → checking, pausing
        case live
        /// The session is being asked whether it still listens. → live, pausing
        case checking
        /// Nothing goes on until the next attempt. → connecting
        case pausing
    }

    private let timing: Timing
    private var state = State.connecting
    private var attemptBegan: Instant
    private var failures = 0

    init(timing: Timing, now: Instant) {
        self.timing = timing
        self.attemptBegan = now
    }

    /// The first action.
    func start() -> Action { .connect }

    /// The pause is over.
    mutating func paused(now: Instant) -> Action {
        state = .connecting
        attemptBegan = now
        return .connect
    }

    /// A connection is there.
    mutating func connected() -> Action {
        state = .listening
        return .listen
    }

    /// LISTEN is committed.
    ///
    /// - Parameters:
    ///   - isDirect: whether the server process that answers is the one that was connected to.
    ///   - now: the moment.
    /// - Returns: what comes next.
    mutating func listening(isDirect: Bool, now: Instant) -> Action {
        state = .proving
        return .prove(overSecondConnection: !isDirect, until: now + timing.answer)
    }

    /// The NOTIFY came back.
    mutating func proved(now: Instant) -> Action {
        state = .live
        failures = 0
        return .goLive(waitUntil: now + timing.silence)
    }

    /// Notifications came in.
    mutating func heard(now: Instant) -> Action { .wait(until: now + timing.silence) }

    /// Nothing came in.
    mutating func silent(now: Instant) -> Action {
        state = .checking
        return .check(until: now + timing.answer)
    }

    /// The session still listens.
    mutating func confirmed(now: Instant) -> Action {
        state = .live
        return .wait(until: now + timing.silence)
    }

    /// Something went wrong.
    ///
    /// - Parameters:
    ///   - trouble: what went wrong.
    ///   - now: the moment.
    ///   - jitter: a random number from 0 to 1.
    /// - Returns: what comes next.
    mutating func failed(_ trouble: ListenerTrouble, now: Instant, jitter: Double) -> Action {
        let wasLive = state == .live || state == .checking
        failures = wasLive ? 1 : failures + 1
        state = .pausing
        // Half of the pause is certain and half is chance, so that many listeners do not come back at once.
        let pause = min(timing.firstPause * (1 << min(failures - 1, 16)), timing.longestPause) * (0.5 + jitter / 2)
        // Counted from the beginning of the attempt: one that hung for its whole deadline has paused enough.
        return .retreat(trouble, until: max(now, (wasLive ? now : attemptBegan) + pause))
    }
}

/// Why a listener does not hear everything at the moment.
public enum ListenerTrouble: String, Error, Hashable, Sendable {
    /// No connection can be made.
    case cannotConnect
    /// The connection was lost.
    case connectionLost
    /// LISTEN failed.
    case cannotListen
    /// A notification to oneself did not come back, as happens behind a pooler in transaction mode.
    case notProved
    /// The session does not answer, or does not listen any more.
    case notListening
}
