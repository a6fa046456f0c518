public import Domain
public import Store

/// Names one watcher for as long as the process runs: its place in the hub's table, and which of the watchers that had
/// this place it is.
public struct WatcherID: Hashable, Sendable {
    public let place: UInt32
    public let generation: UInt32

    public init(place: UInt32, generation: UInt32) {
        self.place = place
        self.generation = generation
    }
}

/// What a watcher is told.
public enum WatcherMessage: Sendable, Equatable {
    /// The newest state, after the transitions that the watcher has missed, oldest first; never the state itself among
    /// them.
    case state(SessionProgress, after: [StatusTransition])
    /// What has changed in a caseload, with the positions before and after it.
    case caseload([CaseloadEvent], before: FeedPosition?, after: FeedPosition?)
    /// Reads from the database have begun to fail.
    case degraded
    /// Reads from the database work again.
    case recovered
    /// The right to see has ended; nothing follows.
    case revoked(SessionID?)
    /// The access token has expired; nothing follows.
    case expired(SessionID?)
    /// Come back later; nothing follows.
    case goodbye

    /// Nothing follows after this message.
    public var isLast: Bool {
        switch self {
        case .state(let progress, _): progress.status.isFinished
        case .caseload, .degraded, .recovered: false
        case .revoked, .expired, .goodbye: true
        }
    }
}

/// One message for all who are to get it: it is encoded once.
public struct Delivery: Sendable, Equatable {
    public var message: WatcherMessage
    public var watchers: [WatcherID]
    /// The version that these watchers had before, for when one of them cannot take the message now.
    var given: Int64 = 0

    init(_ message: WatcherMessage, to watchers: [WatcherID], given: Int64 = 0) {
        self.message = message
        self.watchers = watchers
        self.given = given
    }
}

/// What became of a message at a watcher who did not simply get it.
public enum DeliveryException: Sendable, Equatable {
    /// The message is on its way, and until it is through the watcher takes no other.
    case full
    /// There was no room, and nothing of the message was taken.
    case refused
    /// The watcher is no more.
    case gone
}

/// Carries messages to the sockets of watchers.
///
/// Called on the hub's thread; it must not call back from within.
public protocol WatcherSink: AnyObject, Sendable {
    /// Sends a message.
    ///
    /// One that is the last is always taken, unless it is a state: that may be refused as others are.
    ///
    /// - Returns: The watchers who did not simply get it.
    func deliver(_ delivery: Delivery) -> [(watcher: WatcherID, exception: DeliveryException)]
}
