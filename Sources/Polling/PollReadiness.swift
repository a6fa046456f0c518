import CEpoll

/// What a poller watches a descriptor for.
///
/// The poller always reports the end of the stream and errors, as epoll does. See `PollReadiness`.
public struct PollInterest: OptionSet, Hashable, Sendable {
    /// The bits, which are those of the two members below.
    public let rawValue: UInt8

    /// Makes a set from its bits.
    ///
    /// - Parameter rawValue: The bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// There is something to read.
    public static let read = PollInterest(rawValue: 1)

    /// There is room to write.
    public static let write = PollInterest(rawValue: 2)

    var events: UInt32 {
        (contains(.read) ? cepoll_in | cepoll_rdhup : 0) | (contains(.write) ? cepoll_out : 0)
    }
}

/// What a descriptor is ready for.
public struct PollReadiness: OptionSet, Hashable, Sendable {
    /// The bits, which are those of the members below.
    public let rawValue: UInt8

    /// Makes a set from its bits.
    ///
    /// - Parameter rawValue: The bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Reading will not block.
    ///
    /// Set at the end of the stream and on errors too; the read tells which.
    public static let readable = PollReadiness(rawValue: 1)

    /// Writing will not block.
    ///
    /// Set on errors too.
    public static let writable = PollReadiness(rawValue: 2)

    /// The peer has shut its writing half, or the connection is gone.
    public static let ended = PollReadiness(rawValue: 4)

    init(events: UInt32) {
        var readiness: PollReadiness = []
        let broken = events & (cepoll_err | cepoll_hup) != 0
        if events & (cepoll_in | cepoll_rdhup) != 0 || broken { readiness.insert(.readable) }
        if events & cepoll_out != 0 || broken { readiness.insert(.writable) }
        if events & cepoll_rdhup != 0 || broken { readiness.insert(.ended) }
        self = readiness
    }
}

/// Handles the readiness of a descriptor.
///
/// Readiness is level-triggered: the poller calls a handler again that leaves something unread.
public protocol PollHandler: AnyObject, Sendable {
    /// Handles the readiness of a descriptor, on the poller's thread.
    ///
    /// It must not block.
    ///
    /// - Parameters:
    ///   - descriptor: The descriptor that was given to `Poller.watch`.
    ///   - readiness: What it is ready for.
    func pollerReady(_ descriptor: CInt, _ readiness: PollReadiness)
}
