import DequeModule
import Domain

/// When the hints came that no read has answered yet, for the metrics.
///
/// Only sessions with such a hint take memory. A session with several hints keeps the moment of the first one, because its
/// change waits longest.
struct HintTimes {
    /// The hints of one session.
    private struct Hint {
        /// The moment of the first hint.
        let at: ContinuousClock.Instant
        /// The newest version that a hint names.
        var version: Int64
        /// Whether a poll has named the session first, and no notification.
        let isFromPoll: Bool

        var cause: ShownChange.Cause { isFromPoll ? .poll : .hint(at) }
    }

    /// The hints for which no read has begun.
    private var waiting: [SessionID: Hint] = [:]
    /// These hints in the order of their arrival, and hints that no longer wait.
    private var order: Deque<(session: SessionID, at: ContinuousClock.Instant)> = []
    /// The hints of the read under way.
    private var underWay: [SessionID: Hint] = [:]
    private var oldestUnderWay: ContinuousClock.Instant?

    /// A dictionary or queue with room for more elements is freed when it is empty.
    private static let keptCapacity = 1000

    /// The moment of the oldest hint that no read has answered; nil if there is none.
    var oldest: ContinuousClock.Instant? { earlier(order.first?.at, oldestUnderWay) }

    /// A hint says that a session has reached a version, and the hub will read the session.
    mutating func note(
        _ session: SessionID, version: Int64, at now: ContinuousClock.Instant, isFromPoll: Bool = false
    ) {
        // A deletion is no change that streams show.
        guard version > 0 else { return }
        if let known = waiting[session] {
            if version > known.version { waiting[session]?.version = version }
        } else {
            waiting[session] = Hint(at: now, version: version, isFromPoll: isFromPoll)
            order.append((session, now))
        }
    }

    /// The hub will not read a session: it is not watched any more.
    mutating func forget(_ session: SessionID) {
        if waiting.removeValue(forKey: session) != nil { prune() }
    }

    /// A read of sessions begins.
    mutating func readBegins(_ sessions: [SessionID]) {
        guard !waiting.isEmpty else { return }
        for session in sessions {
            guard let hint = waiting.removeValue(forKey: session) else { continue }
            underWay[session] = hint
            oldestUnderWay = earlier(oldestUnderWay, hint.at)
        }
        prune()
    }

    /// A read has found a version of a session.
    ///
    /// - Returns: The cause, if a hint named this version or an earlier one; that hint is answered.
    mutating func found(_ session: SessionID, version: Int64) -> ShownChange.Cause? {
        var answered: Hint?
        // A hint that came while the read was under way may be of a change that the read has found.
        if let hint = waiting[session], hint.version <= version {
            waiting[session] = nil
            answered = hint
            prune()
        }
        if let hint = underWay[session], hint.version <= version {
            underWay[session] = nil
            answered = hint
        }
        return answered?.cause
    }

    /// The read under way succeeded: it has answered its hints, even those of versions that it has not found.
    mutating func readSucceeded() {
        oldestUnderWay = nil
        if underWay.capacity > Self.keptCapacity { underWay = [:] } else { underWay.removeAll(keepingCapacity: true) }
    }

    /// The read under way failed: its hints wait again.
    mutating func readFailed() {
        guard !underWay.isEmpty else { return }
        waiting.merge(underWay) { late, first in
            Hint(at: first.at, version: max(first.version, late.version), isFromPoll: first.isFromPoll)
        }
        order = Deque(waiting.map { ($0.key, $0.value.at) }.sorted { $0.1 < $1.1 })
        readSucceeded()
    }

    /// Drops what no longer waits from the order, at least from its beginning.
    private mutating func prune() {
        while let first = order.first, waiting[first.session]?.at != first.at { order.removeFirst() }
        // Behind a hint that waits long, others come and go.
        if order.count > 2 * waiting.count + Self.keptCapacity {
            order.removeAll { waiting[$0.session]?.at != $0.at }
        }
        guard waiting.isEmpty, waiting.capacity > Self.keptCapacity else { return }
        (waiting, order) = ([:], [])
    }
}
