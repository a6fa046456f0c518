public import Postgres

/// Hints by PostgreSQL's NOTIFY, from the one listening connection of the process.
public struct PostgresChangeSource: ChangeSource {
    /// The channel to listen on.
    public static let channel = NotificationPayload.channel

    private let listener: PostgresListener

    /// Takes the events of a listener, which has to listen on ``channel``.
    public init(listener: PostgresListener) { self.listener = listener }

    public func events() -> some AsyncSequence<[ChangeEvent], Never> & Sendable {
        listener.events().map { event in
            switch event {
            // LISTEN took effect just now: what was committed before was heard by nobody.
            case .live, .overflow: [.resync]
            case .degraded: [.degraded]
            case .notifications(let notifications): NotificationPayload.events(in: notifications.lazy.map(\.payload))
            }
        }
    }
}
