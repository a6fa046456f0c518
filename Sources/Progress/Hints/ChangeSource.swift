public import Domain

/// That a session has changed: a reason to read it, and nothing more.
///
/// Any role of the database can send one, so it is never passed on and never believed.
public struct ChangeHint: Sendable, Equatable {
    /// The session that is said to have changed.
    public var session: SessionID
    /// The version that it is said to have come to; 0 when it is said to be deleted.
    public var version: Int64

    public init(session: SessionID, version: Int64) {
        self.session = session
        self.version = version
    }
}

/// What a ``ChangeSource`` tells.
public enum ChangeEvent: Sendable, Equatable {
    /// Sessions have changed.
    case hints([ChangeHint])
    /// Somebody's right to see something has changed.
    case rightsChanged
    /// A session waits for a worker.
    case workWaiting
    /// Hints may have been lost: read everything that is watched. Also the first event after each connect.
    case resync
    /// No hints come at present: the poll serves.
    case degraded
}

/// Where hints come from: PostgreSQL's NOTIFY, or for a site beyond its limits a broker or logical decoding.
///
/// Hints may be lost, doubled, late or forged; a source owes only a ``ChangeEvent/resync`` after a gap that it knows of.
public protocol ChangeSource: Sendable {
    associatedtype Events: AsyncSequence<[ChangeEvent], Never> & Sendable

    /// The events, for one consumer, as many at once as have come in since it last asked.
    func events() -> Events
}
