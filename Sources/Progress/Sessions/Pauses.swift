import DequeModule
import Domain

/// Whether the hub reads a session again after a pause.
///
/// The database sends at most one hint of a percentage per session in 500 ms. The last percentage of a burst therefore comes
/// without a hint.
enum Pause: UInt8 {
    /// It does not. The next news, or the first snapshot, begins a pause. Goes to ``running``.
    case none
    /// No news has come since the pause began. The end of the pause goes to ``none``, news goes to ``runningWithNews``.
    case running
    /// News has come since the pause began. A later change without a hint may follow after the end of the pause. The end
    /// therefore begins another pause: ``running``.
    case runningWithNews

    /// News of the session has come.
    ///
    /// - Returns: Whether a pause begins.
    mutating func begin() -> Bool {
        let begins = self == .none
        self = begins ? .running : .runningWithNews
        return begins
    }

    /// The pause has ended.
    ///
    /// - Returns: Whether another pause begins.
    mutating func end() -> Bool {
        let continues = self == .runningWithNews
        self = continues ? .running : .none
        return continues
    }
}

/// The sessions that the hub reads again after a pause, in the order in which their pauses end.
struct Pauses {
    /// The time between news of a session and the next read of it.
    static let length = Duration.milliseconds(600)

    private var queue: Deque<(due: ContinuousClock.Instant, session: SessionID)> = []

    var isEmpty: Bool { queue.isEmpty }
    /// The end of the next pause.
    var due: ContinuousClock.Instant? { queue.first?.due }
    var sessions: [(session: SessionID, due: ContinuousClock.Instant)] { queue.map { ($0.session, $0.due) } }

    mutating func begin(_ session: SessionID, at now: ContinuousClock.Instant) {
        queue.append((now + Self.length, session))
    }

    /// Removes a session whose pause has ended; nil if there is none.
    mutating func popDue(at now: ContinuousClock.Instant) -> SessionID? {
        guard let first = queue.first, first.due <= now else { return nil }
        queue.removeFirst()
        // Free the memory after a burst.
        if queue.isEmpty { queue = [] }
        return first.session
    }
}
