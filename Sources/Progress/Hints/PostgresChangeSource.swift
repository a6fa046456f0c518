public import Postgres

/// Hints from PostgreSQL's NOTIFY, which arrive at the listener of the process.
public struct PostgresChangeSource: ChangeSource {
    /// The channel of the notifications.
    public static let channel = NotificationPayload.channel

    private let listener: PostgresListener

    /// A source of hints from a listener.
    ///
    /// - Parameter listener: A listener that listens on ``channel``.
    public init(listener: PostgresListener) { self.listener = listener }

    /// The events for one consumer.
    ///
    /// Each element contains all events since the previous element.
    public func events() -> some AsyncSequence<[ChangeEvent], Never> & Sendable {
        listener.events().map { event in
            switch event {
            // LISTEN has just taken effect: no notification came for what was committed before.
            case .live, .overflow: [.resync]
            case .degraded: [.degraded]
            case .notifications(let notifications): NotificationPayload.events(in: notifications.lazy.map(\.payload))
            }
        }
    }
}
