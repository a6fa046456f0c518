public import Domain
public import Store

/// Names one watcher for as long as the process runs: its slot in the hub's table, and the generation of that slot.
public struct WatcherID: Hashable, Sendable {
    public let slot: UInt32
    /// How many watchers had the slot before.
    public let generation: UInt32

    public init(slot: UInt32, generation: UInt32) {
        self.slot = slot
        self.generation = generation
    }
}

/// A message to watchers.
public enum WatcherMessage: Sendable, Equatable {
    /// The newest state, after the transitions that the watcher has missed, oldest first; never the state itself among
    /// them.
    case state(SessionProgress, after: [StatusTransition])
    /// Changes in a caseload, with the positions before and after them.
    case caseload([CaseloadEvent], before: FeedPosition?, after: FeedPosition?)
    /// Reads from the database have begun to fail.
    case degraded
    /// Reads from the database work again.
    case recovered
    /// The right to see has ended; nothing follows.
    case revoked(SessionID?)
    /// The access token has expired; nothing follows.
    case expired(SessionID?)
    /// The client has to reconnect later; nothing follows.
    case reconnect

    /// Nothing follows after this message.
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
    public var message: WatcherMessage
    public var watchers: [WatcherID]
    /// The version that these watchers had before; a watcher that cannot take the message still has it.
    var previous: Int64 = 0

    init(_ message: WatcherMessage, to watchers: [WatcherID], previous: Int64 = 0) {
        self.message = message
        self.watchers = watchers
        self.previous = previous
    }
}

/// Why a watcher did not simply receive a message.
public enum DeliveryException: Sendable, Equatable {
    /// The message is partly written, and until it is through the watcher takes no other.
    case full
    /// There was no room, and nothing of the message was taken.
    case refused
    /// The watcher is no more.
    case gone
}

/// Carries messages to the sockets of watchers.
///
/// The hub calls it on its own thread; it must not call back from within.
public protocol WatcherSink: AnyObject, Sendable {
    /// Sends a message.
    ///
    /// The sink always takes a message that is the last, unless it is a state: that may be refused as others are.
    ///
    /// - Returns: The watchers that did not simply receive it.
    func deliver(_ delivery: Delivery) -> [(watcher: WatcherID, exception: DeliveryException)]
}
