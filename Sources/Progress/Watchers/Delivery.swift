public import Domain
public import Store

/// The identifier of one watcher, unique while the process runs.
public struct WatcherID: Hashable, Sendable {
    /// The slot of the watcher in the hub's table.
    public let slot: UInt32
    /// The number of watchers that had the slot before.
    public let generation: UInt32

    /// The identifier of the watcher in a slot.
    ///
    /// - Parameters:
    ///   - slot: The slot in the hub's table.
    ///   - generation: The number of watchers that had the slot before.
    public init(slot: UInt32, generation: UInt32) {
        self.slot = slot
        self.generation = generation
    }
}

/// A message to watchers.
public enum WatcherMessage: Sendable, Equatable {
    /// The newest state, after the transitions that the watcher has missed, oldest first.
    ///
    /// The transitions never contain the state itself.
    case state(SessionProgress, after: [StatusTransition])
    /// Changes in a caseload, with the positions before and after them.
    case caseload([CaseloadEvent], before: FeedPosition?, after: FeedPosition?)
    /// Reads from the database have begun to fail.
    case degraded
    /// Reads from the database succeed again.
    case recovered
    /// The user has lost the right. Nothing follows.
    case revoked(SessionID?)
    /// The access token has expired. Nothing follows.
    case expired(SessionID?)
    /// The client must reconnect after the reconnection delay. Nothing follows.
    case reconnect

    /// Whether the stream ends with this message.
    public var isLast: Bool {
        switch self {
        case .state(let progress, _): progress.status.isFinished
        case .caseload, .degraded, .recovered: false
        case .revoked, .expired, .reconnect: true
        }
    }
}

/// One message for several watchers: the sink encodes it once.
public struct Delivery: Sendable, Equatable {
    /// The message.
    public var message: WatcherMessage
    /// The watchers that get it.
    public var watchers: [WatcherID]
    /// The version that was sent to these watchers before.
    ///
    /// If a sink refuses the message, they still have it.
    var previousVersion: Int64 = 0

    init(_ message: WatcherMessage, to watchers: [WatcherID], previousVersion: Int64 = 0) {
        self.message = message
        self.watchers = watchers
        self.previousVersion = previousVersion
    }
}

/// How the delivery of a message to one watcher differs from the usual.
public enum DeliveryException: Sendable, Equatable {
    /// The socket took a part of the message. The watcher gets no other message until the rest is written.
    case full
    /// The socket had no room, and took nothing of the message.
    case refused
    /// The watcher no longer has a socket.
    case gone
}

/// Writes messages to the sockets of watchers.
///
/// The hub calls it on the hub's thread. The sink must not call the hub from within.
public protocol WatcherSink: AnyObject, Sendable {
    /// Sends a message.
    ///
    /// A sink never refuses a last message, except a state.
    ///
    /// - Parameter delivery: The message and its watchers.
    /// - Returns: The watchers whose sockets did not take the whole message.
    func deliver(_ delivery: Delivery) -> [(watcher: WatcherID, exception: DeliveryException)]
}
