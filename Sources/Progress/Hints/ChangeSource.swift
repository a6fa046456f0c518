public import Domain

/// A hint that a session may have changed.
///
/// It can cause a read, and nothing else.
///
/// Any role of the database can send a hint. The hub therefore neither trusts it nor passes it on.
public struct ChangeHint: Sendable, Equatable {
    /// The session that may have changed.
    public var session: SessionID
    /// The version that the session may have reached; 0 if it may be deleted.
    public var version: Int64

    /// A hint that a session may have changed.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - version: The version that it may have reached; 0 if it may be deleted.
    public init(session: SessionID, version: Int64) {
        self.session = session
        self.version = version
    }
}

/// An event of a ``ChangeSource``.
public enum ChangeEvent: Sendable, Equatable {
    /// Sessions may have changed.
    case hints([ChangeHint])
    /// The rights of users have changed.
    case rightsChanged
    /// A session waits for a worker.
    case workWaiting
    /// A delivery to a webhook may be due.
    case webhooksWaiting
    /// Hints may have been lost: the hub reads everything that is watched. This is the first event after each connect.
    case resync
    /// No hints come at present. The poll finds the changes.
    case degraded
    /// The source has no hints: whoever waits for one looks for changes now. The hub does so by its own poll.
    case lookDue
}

/// The source of hints: PostgreSQL's NOTIFY (``PostgresChangeSource``), none at all (``PollingChangeSource``), or a message
/// broker or logical decoding.
///
/// Hints may be lost, repeated, late or forged. A source must send a ``ChangeEvent/resync`` after each gap that it detects.
public protocol ChangeSource: Sendable {
    /// The sequence of events.
    associatedtype Events: AsyncSequence<[ChangeEvent], Never> & Sendable

    /// The events for one consumer. Each element contains all events since the previous element.
    func events() -> Events
}
