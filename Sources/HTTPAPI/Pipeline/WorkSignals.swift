import Synchronization

/// Wakes requests that wait for a session in the queue.
///
/// A signal wakes one request, the one that has waited longest. If it gets a session, it signals the next one, because
/// one notification can stand for many sessions. A crowd of waiting requests therefore costs the database one claim for
/// each session, and one more.
public final class WorkSignals: Sendable {
    /// One request.
    final class Waiter: Sendable {
        private struct State {
            /// True if a signal came that no wait has answered yet.
            var isWoken = false
            /// True if the request needs no session any more.
            var hasEnded = false
            var continuation: CheckedContinuation<Void, Never>?
        }

        private let state = Mutex(State())

        /// True if the client has gone, or the server shuts down.
        var hasEnded: Bool { state.withLock { $0.hasEnded } }

        /// True if a signal came since ``reset()``.
        var isWoken: Bool { state.withLock { $0.isWoken } }

        /// Makes the waiter ready for the next signal.
        func reset() { state.withLock { $0.isWoken = false } }

        func wake() {
            let continuation = state.withLock { state in
                state.isWoken = true
                return state.continuation.take()
            }
            continuation?.resume()
        }

        /// Wakes the waiter for good.
        func end() {
            state.withLock { $0.hasEnded = true }
            wake()
        }

        /// Ends the present wait without a signal.
        private func interrupt() {
            let continuation = state.withLock { $0.continuation.take() }
            continuation?.resume()
        }

        /// Waits for a signal or for the cancellation of the task, or returns at once if a signal came since ``reset()``.
        func wait() async {
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let isWoken = state.withLock { state in
                        if !state.isWoken { state.continuation = continuation }
                        return state.isWoken
                    }
                    if isWoken { return continuation.resume() }
                    // A cancellation just before found no wait.
                    if Task.isCancelled { interrupt() }
                }
            } onCancel: {
                interrupt()
            }
        }
    }

    /// The order in which requests wait: a value without a lock or a task.
    struct Line<Member: AnyObject> {
        /// The requests that no signal has called yet, oldest first.
        private var members: [Member] = []

        /// Adds a request at the end.
        ///
        /// A request that no signal has called since keeps its position. After its look into the queue it is still the
        /// one that looks next, and all others go on waiting.
        mutating func enter(_ member: Member) {
            if !members.contains(where: { $0 === member }) { members.append(member) }
        }

        /// True if this request looks into the queue when no signal comes.
        func isFirst(_ member: Member) -> Bool { members.first === member }

        /// Removes and returns the request that has waited longest.
        mutating func next() -> Member? { members.isEmpty ? nil : members.removeFirst() }

        /// Removes a request.
        ///
        /// - Returns: False if a signal has removed it.
        mutating func leave(_ member: Member) -> Bool {
            guard let index = members.firstIndex(where: { $0 === member }) else { return false }
            members.remove(at: index)
            return true
        }
    }

    private let line = Mutex(Line<Waiter>())

    /// Signals for no request yet.
    public init() {}

    /// Wakes the request that has waited longest.
    public func signal() {
        let first = line.withLock { $0.next() }
        first?.wake()
    }

    /// Adds a request, or leaves one where it is that no signal has removed.
    ///
    /// The caller looks into the queue afterwards: a signal in between is not lost.
    func enter(_ waiter: Waiter) {
        waiter.reset()
        line.withLock { $0.enter(waiter) }
    }

    /// True if no other request has waited longer.
    func isFirst(_ waiter: Waiter) -> Bool { line.withLock { $0.isFirst(waiter) } }

    /// Removes a request.
    ///
    /// - Returns: False if a signal has removed it. A caller that does not look into the queue any more passes it on.
    func leave(_ waiter: Waiter) -> Bool { line.withLock { $0.leave(waiter) } }
}
