import DequeModule
import Synchronization

/// What a listener tells its consumer.
public enum ListenerEvent: Hashable, Sendable {
    /// The listener receives every later commit.
    ///
    /// Read everything that you need now.
    case live
    /// Notifications, in the order of their commits.
    ///
    /// Each is a hint, which any role may have sent.
    case notifications([PostgresNotification])
    /// More notifications came than the buffer holds, and the buffer is empty now.
    ///
    /// Read everything that you need now.
    case overflow
    /// The listener receives nothing until the next `live`.
    case degraded(ListenerTrouble)
}

/// The notifications that wait for the consumer, between the poller's thread and a task.
///
/// A listener that stops reading its socket would hold back VACUUM in the whole cluster. The mailbox therefore has a
/// limit: if it is reached, one `overflow` replaces the notifications, and the consumer reads the state instead.
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
    /// - Parameter notification: The notification.
    /// - Returns: Whether the buffer overflowed with this one.
    @discardableResult
    func add(_ notification: PostgresNotification) -> Bool {
        var isFirstTooMany = false
        change { state in
            // The resync after the overflow also reads what later notifications announce.
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

    /// Reports that the listener receives every later commit.
    ///
    /// The resync that follows covers all notifications that wait.
    func goLive() {
        change { state in
            state.condition = .live
            state.hasOverflown = false
            state.notifications = []
        }
    }

    /// Reports that the listener receives nothing.
    ///
    /// It replaces a `live` that the consumer has not taken.
    func degrade(_ trouble: ListenerTrouble) { change { $0.condition = .degraded(trouble) } }

    /// Ends the sequence when the mailbox is empty.
    func finish() { change { $0.isFinished = true } }

    private func change(_ body: (inout State) -> Void) {
        let delivery = state.withLock { state in
            body(&state)
            return state.deliver()
        }
        if let (consumer, event) = delivery { consumer.resume(returning: event) }
    }

    /// Waits for the next event.
    ///
    /// - Returns: The event; nil at the end and in a cancelled task.
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
                // A cancellation just before the consumer began to wait found no consumer.
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
