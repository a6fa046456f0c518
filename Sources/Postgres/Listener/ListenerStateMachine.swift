/// The times of a listener.
struct ListenerTiming {
    /// How long a live connection may be silent before the listener asks the server whether the session still listens.
    var silence: Duration = .seconds(10)
    /// How long LISTEN, the proof and that question may each take.
    var answer: Duration = .seconds(5)
    /// The pause between two attempts after the first failure.
    ///
    /// It doubles with each further failure.
    var firstPause: Duration = .milliseconds(100)
    /// The longest pause between the beginnings of two attempts, jitter included.
    var longestPause: Duration = .seconds(5)
}

/// Decides what a listener does next.
///
/// The listener connects, sends LISTEN, proves that notifications arrive, and is live. A live connection that is silent
/// is checked. After any failure the listener pauses and connects again.
///
/// One action is under way at a time: each event reports how the last action ended and returns the next one. An event
/// that does not belong to the present state is an error of the caller and stops the program.
///
/// The type of a connection is generic, so that a test can use a plain value.
///
/// `docs/listener.md` shows the states.
struct ListenerStateMachine<Connection> {
    typealias Instant = ContinuousClock.Instant

    /// What the listener does next.
    enum Action {
        /// Connect; report `connected` or `failed`.
        case connect
        /// Send LISTEN for all channels; report `listening` or `failed`.
        case listen(Connection)
        /// Send a NOTIFY to this connection and wait for it until a moment; report `proved` or `failed`.
        ///
        /// Through a pooler the NOTIFY needs a second connection. On the connection itself it would come back before
        /// the pooler takes the server process away, and would prove nothing.
        case prove(Connection, overSecondConnection: Bool, until: Instant)
        /// Tell the consumer that the listener receives every later commit, then do as for `wait`.
        case goLive(Connection, waitUntil: Instant)
        /// Wait for notifications until a moment; report `received`, `silent` or `failed`.
        case wait(Connection, until: Instant)
        /// Ask the server which channels this session listens to, until a moment; report `confirmed` or `failed`.
        case check(Connection, until: Instant)
        /// Tell the consumer why the listener receives nothing, close the connection if there is one, pause until a
        /// moment, and report `paused`.
        case retreat(closing: Connection?, ListenerTrouble, until: Instant)
    }

    /// An attempt to go live.
    private struct Attempt {
        /// The moment at which it began to connect.
        let began: Instant
        /// How many attempts before it failed in a row.
        let failuresBefore: Int
    }

    private enum State {
        /// The listener was not started. → connecting, ended
        case new
        /// The listener opens a connection. → listening, pausing, ended
        case connecting(Attempt)
        /// LISTEN is under way. → proving, pausing, ended
        case listening(Attempt, Connection)
        /// The listener waits for its own NOTIFY. → live, pausing, ended
        case proving(Attempt, Connection)
        /// The listener receives every notification. → checking, pausing, ended
        case live(Connection)
        /// The connection was silent, and the listener asks whether the session still listens. → live, pausing, ended
        case checking(Connection)
        /// The listener waits before its next attempt. → connecting, ended
        ///
        /// It closes the connection that failed meanwhile. `failures` is the number of failures in a row.
        case pausing(failures: Int, closing: Connection?)
        /// The listener was told to end.
        ///
        /// There is no next state.
        case ended
    }

    private let timing: ListenerTiming
    private var state = State.new

    init(timing: ListenerTiming) { self.timing = timing }

    /// The listener starts.
    mutating func start(now: Instant) -> Action {
        switch state {
        case .new:
            state = .connecting(Attempt(began: now, failuresBefore: 0))
            return .connect
        case .connecting, .listening, .proving, .live, .checking, .pausing, .ended: unexpected()
        }
    }

    /// The pause is over, and the connection that failed is closed.
    mutating func paused(now: Instant) -> Action {
        switch state {
        case .pausing(let failures, _):
            state = .connecting(Attempt(began: now, failuresBefore: failures))
            return .connect
        case .new, .connecting, .listening, .proving, .live, .checking, .ended: unexpected()
        }
    }

    /// A connection was made.
    mutating func connected(_ connection: Connection) -> Action {
        switch state {
        case .connecting(let attempt):
            state = .listening(attempt, connection)
            return .listen(connection)
        case .new, .listening, .proving, .live, .checking, .pausing, .ended: unexpected()
        }
    }

    /// LISTEN is committed.
    ///
    /// - Parameters:
    ///   - isDirect: Whether the server process that answered is the one that the start of the connection named. A
    ///     pooler names a process that does not exist.
    ///   - now: The present moment.
    /// - Returns: The next action.
    mutating func listening(isDirect: Bool, now: Instant) -> Action {
        switch state {
        case .listening(let attempt, let connection):
            state = .proving(attempt, connection)
            return .prove(connection, overSecondConnection: !isDirect, until: now + timing.answer)
        case .new, .connecting, .proving, .live, .checking, .pausing, .ended: unexpected()
        }
    }

    /// The listener's own NOTIFY came back.
    mutating func proved(now: Instant) -> Action {
        switch state {
        case .proving(_, let connection):
            state = .live(connection)
            return .goLive(connection, waitUntil: now + timing.silence)
        case .new, .connecting, .listening, .live, .checking, .pausing, .ended: unexpected()
        }
    }

    /// Notifications arrived while the listener waited.
    ///
    /// - Parameter last: When the last one came. The silence counts from there: a connection that is lost just after a
    ///   notification would otherwise be noticed up to `silence` later.
    /// - Returns: The next action.
    mutating func received(last: Instant) -> Action {
        switch state {
        case .live(let connection): return .wait(connection, until: last + timing.silence)
        case .new, .connecting, .listening, .proving, .checking, .pausing, .ended: unexpected()
        }
    }

    /// No notification arrived while the listener waited.
    mutating func silent(now: Instant) -> Action {
        switch state {
        case .live(let connection):
            state = .checking(connection)
            return .check(connection, until: now + timing.answer)
        case .new, .connecting, .listening, .proving, .checking, .pausing, .ended: unexpected()
        }
    }

    /// The session still listens, as the server says.
    mutating func confirmed(now: Instant) -> Action {
        switch state {
        case .checking(let connection):
            state = .live(connection)
            return .wait(connection, until: now + timing.silence)
        case .new, .connecting, .listening, .proving, .live, .pausing, .ended: unexpected()
        }
    }

    /// The action that was under way failed.
    ///
    /// - Parameters:
    ///   - trouble: Why it failed.
    ///   - now: The present moment.
    ///   - jitter: A random number from 0 to 1.
    /// - Returns: The next action.
    mutating func failed(_ trouble: ListenerTrouble, now: Instant, jitter: Double) -> Action {
        // The pause counts from the beginning of the attempt: an attempt that hung until its deadline needs no further
        // pause.
        switch state {
        case .connecting(let attempt):
            return retreat(
                nil, trouble, failures: attempt.failuresBefore + 1, from: attempt.began, now: now, jitter: jitter)
        case .listening(let attempt, let connection), .proving(let attempt, let connection):
            return retreat(
                connection, trouble, failures: attempt.failuresBefore + 1, from: attempt.began, now: now,
                jitter: jitter)
        case .live(let connection), .checking(let connection):
            return retreat(connection, trouble, failures: 1, from: now, now: now, jitter: jitter)
        case .new, .pausing, .ended: unexpected()
        }
    }

    private mutating func retreat(
        _ connection: Connection?, _ trouble: ListenerTrouble, failures: Int, from beginning: Instant, now: Instant,
        jitter: Double
    ) -> Action {
        state = .pausing(failures: failures, closing: connection)
        // Half of the pause is fixed and half is random. Otherwise many listeners would come back at once.
        let pause = min(timing.firstPause * (1 << min(failures - 1, 16)), timing.longestPause) * (0.5 + jitter / 2)
        return .retreat(closing: connection, trouble, until: max(now, beginning + pause))
    }

    /// The listener ends, in any state.
    ///
    /// - Returns: The connection to close; nil if there is none.
    mutating func end() -> Connection? {
        defer { state = .ended }
        switch state {
        case .listening(_, let connection), .proving(_, let connection), .live(let connection),
            .checking(let connection):
            return connection
        case .pausing(_, let connection): return connection
        case .new, .connecting, .ended: return nil
        }
    }

    private func unexpected(_ event: String = #function) -> Never {
        preconditionFailure("a listener cannot take the event \(event) in the state \(state)")
    }
}

extension ListenerStateMachine.Action: Equatable where Connection: Equatable {}

/// Why a listener does not receive every notification.
public enum ListenerTrouble: String, Error, Hashable, Sendable {
    /// The listener cannot connect.
    case cannotConnect
    /// The connection was lost.
    case connectionLost
    /// LISTEN failed.
    case cannotListen
    /// The listener's own notification did not come back, as behind a pooler in transaction mode.
    case notProved
    /// The session does not answer, or no longer listens.
    case notListening
}
