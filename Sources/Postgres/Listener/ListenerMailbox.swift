import DequeModule
import Synchronization

/// What a listener tells its consumer.
public enum ListenerEvent: Hashable, Sendable {
    /// Everything that is committed from now on is heard: read all that you care about now.
    case live
    /// Notifications, in the order in which they were committed; a hint each, which any role could have sent.
    case notifications([PostgresNotification])
    /// More came in than the buffer holds, and the buffer was emptied: read all that you care about now.
    case overflow
    /// Nothing is heard until the next `live`.
    case degraded(ListenerTrouble)
}

/// Where notifications wait for the consumer, between the poller's thread and a task.
///
/// It never holds more than its limit: a listener that stops reading its socket would hold back VACUUM for the whole
/// cluster, so what does not fit is replaced by one `overflow`, and the consumer reads the state instead.
final class ListenerMailbox: Sendable {
    private struct State {
        var condition: ListenerEvent?
        var hasOverflown = false
        var notifications: Deque<PostgresNotification> = []
        var consumer: CheckedContinuation<ListenerEvent?, Never>?
        var consumerNumber = 0
        var isFinished = false

        mutating func take() -> ListenerEvent? {
            if let event = condition {
                condition = nil
                return event
            }
            if hasOverflown {
                hasOverflown = false
                return .overflow
            }
            guard !notifications.isEmpty else { return nil }
            defer { notifications = [] }
            return .notifications(Array(notifications))
        }

        /// Hands an event to a consumer that waits.
        mutating func deliver() -> (CheckedContinuation<ListenerEvent?, Never>, ListenerEvent?)? {
            guard let waiting = consumer else { return nil }
            let event = take()
            guard event != nil || isFinished else { return nil }
            consumer = nil
            return (waiting, event)
        }
    }

    private let state = Mutex(State())
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    /// Adds a notification.
    ///
    /// - Returns: whether the buffer overflowed with this one.
    @discardableResult
    func add(_ notification: PostgresNotification) -> Bool {
        var isFirstTooMany = false
        change { state in
            // What is behind an overflow is read by the resync that the overflow asks for.
            guard !state.hasOverflown else { return }
            if state.notifications.count < limit {
                state.notifications.append(notification)
            } else {
                state.notifications = []
                state.hasOverflown = true
                isFirstTooMany = true
            }
        }
        return isFirstTooMany
    }

    /// Tells that everything is heard from now on; the resync that follows covers all that was waiting.
    func goLive() {
        change { state in
            state.condition = .live
            state.hasOverflown = false
            state.notifications = []
        }
    }

    /// Tells that nothing is heard; replaces a `live` that nobody has seen.
    func degrade(_ trouble: ListenerTrouble) { change { $0.condition = .degraded(trouble) } }

    /// Ends the sequence once it is empty.
    func finish() { change { $0.isFinished = true } }

    private func change(_ body: (inout State) -> Void) {
        let delivery = state.withLock { state in
            body(&state)
            return state.deliver()
        }
        if let (consumer, event) = delivery { consumer.resume(returning: event) }
    }

    /// Waits for the next event; nil at the end and in a cancelled task.
    func next() async -> ListenerEvent? {
        let number = state.withLock { state in
            state.consumerNumber += 1
            return state.consumerNumber
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isCancelled = Task.isCancelled
                let (event, mayReturn) = state.withLock { state -> (ListenerEvent?, Bool) in
                    if isCancelled { return (nil, true) }
                    let event = state.take()
                    if event != nil || state.isFinished { return (event, true) }
                    precondition(state.consumer == nil, "a listener has one consumer")
                    state.consumer = continuation
                    return (nil, false)
                }
                if mayReturn { return continuation.resume(returning: event) }
                // A cancellation just before the consumer was in its place has found nobody.
                if Task.isCancelled { abandon(number) }
            }
        } onCancel: {
            abandon(number)
        }
    }

    private func abandon(_ number: Int) {
        let consumer = state.withLock { state -> CheckedContinuation<ListenerEvent?, Never>? in
            guard state.consumerNumber == number else { return nil }
            defer { state.consumer = nil }
            return state.consumer
        }
        consumer?.resume(returning: nil)
    }
}
