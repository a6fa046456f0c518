import DequeModule
import Domain

/// Whether a session is read again after a pause.
///
/// The database announces a percentage at most every 500 ms per session, so the last one of a burst comes without a hint.
enum Pause: UInt8 {
    /// No: the next news, or the first snapshot, begins a pause. Goes to ``running``.
    case none
    /// There has been nothing since it began. Its end goes to ``none``, news go to ``runningWithNews``.
    case running
    /// There has been news since it began. What follows that without a hint may come after its end, which therefore begins
    /// another pause: ``running``.
    case runningWithNews

    /// There is news.
    ///
    /// - Returns: Whether a pause begins.
    mutating func begin() -> Bool {
        let begins = self == .none
        self = begins ? .running : .runningWithNews
        return begins
    }

    /// The pause is over.
    ///
    /// - Returns: Whether another begins.
    mutating func end() -> Bool {
        let continues = self == .runningWithNews
        self = continues ? .running : .none
        return continues
    }
}

/// The sessions that are read again after a pause, in the order in which their pauses end.
struct Pauses {
    /// How long after news of a session it is read again.
    static let length = Duration.milliseconds(600)

    private var queue: Deque<(due: ContinuousClock.Instant, session: SessionID)> = []

    var isEmpty: Bool { queue.isEmpty }
    /// When the next pause ends.
    var due: ContinuousClock.Instant? { queue.first?.due }
    var sessions: [(session: SessionID, due: ContinuousClock.Instant)] { queue.map { ($0.session, $0.due) } }

    mutating func begin(_ session: SessionID, at now: ContinuousClock.Instant) {
        queue.append((now + Self.length, session))
    }

    /// A session whose pause is over.
    mutating func popDue(at now: ContinuousClock.Instant) -> SessionID? {
        guard let first = queue.first, first.due <= now else { return nil }
        queue.removeFirst()
        // After a burst the memory is not kept.
        if queue.isEmpty { queue = [] }
        return first.session
    }
}
