public import Domain
import Synchronization

/// What a watcher takes out of its mailbox at once.
public struct WatcherNews: Sendable {
    /// Transitions between what the watcher was given before and ``latest``, oldest first.
    public internal(set) var transitions: [StatusTransition] = []
    /// More transitions came than the mailbox holds: read them from the database, from the last version sent.
    public internal(set) var missedTransitions = false
    /// The newest state; nil when there is no news of the session itself.
    public internal(set) var latest: SessionProgress?
    /// The rights epoch has changed to this: the right to see the session has to be read again before anything is sent.
    public internal(set) var rightsEpoch: Int64?
    /// Reads from the database have begun to fail (true) or work again (false).
    public internal(set) var degraded: Bool?
    /// The session was deleted.
    public internal(set) var isGone = false
    /// The server stops.
    public internal(set) var isClosing = false

    var isEmpty: Bool {
        transitions.isEmpty && !missedTransitions && latest == nil && rightsEpoch == nil && degraded == nil && !isGone
            && !isClosing
    }
}

/// One watcher's mailbox: the newest state and the transitions before it, whatever the speed of its reader.
///
/// The slow-consumer rule: percentages are overwritten by newer ones; transitions are kept up to
/// ``transitionLimit`` and past that read again from the database. So a mailbox never grows with the time that its reader
/// takes.
public final class ProgressWatcher: Sendable {
    /// How many transitions wait for a reader before it has to read them itself.
    static let transitionLimit = 32

    /// The session that is watched.
    public let session: SessionID
    let id: HubStateMachine.WatcherID

    private struct State {
        var news = WatcherNews()
        var waiter: CheckedContinuation<Void, Never>?
        /// The reader has been told that the server stops.
        var isClosing = false
    }
    private let state = Mutex(State())

    init(session: SessionID, id: HubStateMachine.WatcherID) {
        self.session = session
        self.id = id
    }

    /// Waits for news and takes it.
    ///
    /// Only one task may wait at a time.
    ///
    /// - Returns: The news; nil when the task was cancelled before there was any.
    public func next() async -> WatcherNews? {
        while !Task.isCancelled {
            if let news = take() { return news }
            await waitForNews()
        }
        return nil
    }

    /// Waits for news until a deadline, and takes it.
    ///
    /// - Returns: The news; nil at the deadline, or when the task was cancelled.
    public func next(until deadline: ContinuousClock.Instant) async -> WatcherNews? {
        // News that is there is taken whatever the deadline says, and without the price of two tasks.
        if let news = take() { return news }
        return await withTaskGroup(of: WatcherNews?.self) { group in
            group.addTask { await self.next() }
            group.addTask {
                try? await Task.sleep(until: deadline, clock: .continuous)
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            // News may have been taken at the very moment that the deadline won: it must not be dropped.
            return if let first { first } else { await group.next() ?? nil }
        }
    }

    /// Whether the server stops; does not take the news.
    public var isClosing: Bool { state.withLock { $0.news.isClosing || $0.isClosing } }

    private func take() -> WatcherNews? {
        state.withLock { state in
            guard !state.news.isEmpty else { return nil }
            var news = state.news
            state.news = WatcherNews()
            if news.isClosing { state.isClosing = true }
            // The present state may itself have come by a transition: it goes out once, as the state.
            news.transitions.removeAll { $0.version == news.latest?.version }
            return news
        }
    }

    private func waitForNews() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let resumeNow = state.withLock { state in
                    // A cancellation that came before this point found no waiter to resume.
                    guard state.news.isEmpty, !Task.isCancelled else { return true }
                    state.waiter = continuation
                    return false
                }
                if resumeNow { continuation.resume() }
            }
        } onCancel: {
            post { _ in }
        }
    }

    /// Changes what waits for the reader, and wakes it.
    func post(_ change: (inout WatcherNews) -> Void) {
        let waiter = state.withLock { state in
            change(&state.news)
            return state.waiter.take()
        }
        waiter?.resume()
    }

    /// Leaves a reading for the watcher.
    ///
    /// - Parameter given: The version that the watcher was last given: it is not told again of transitions up to there.
    func post(_ reading: SessionReading, after given: Int64) {
        post { news in
            news.transitions += reading.transitions.filter { $0.version > given }
            if news.transitions.count > Self.transitionLimit {
                news.transitions = []
                news.missedTransitions = true
            }
            news.latest = reading.progress
        }
    }
}
