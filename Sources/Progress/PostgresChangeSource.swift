public import Postgres

/// Hints by PostgreSQL's NOTIFY, from the one listening connection of the process.
public struct PostgresChangeSource: ChangeSource {
    /// The channel to listen on.
    public static let channel = NotificationPayload.channel

    private let listener: PostgresListener

    public init(listener: PostgresListener) { self.listener = listener }

    public func events() -> AsyncStream<ChangeEvent> { AsyncStream { _ in } }
}
