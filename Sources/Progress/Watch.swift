import Domain
public import Store

/// A watcher's place in the hub before it has a socket: whoever lets go of this without a socket frees the place.
public final class Watch: Sendable {
    /// The watcher, to whom the sink delivers.
    public let watcher: WatcherID
    private let hub: ProgressHub

    init(watcher: WatcherID, hub: ProgressHub) {
        self.watcher = watcher
        self.hub = hub
    }

    deinit { hub.forget(unattached: watcher) }

    /// Whether what the watcher was let in with may be sent: no read has shown since that rights have changed.
    ///
    /// On the hub's thread only.
    public var isCurrent: Bool { hub.assumeIsolated { $0.isCurrent(watcher) } }

    /// The watcher has a socket now; on the hub's thread only.
    public func attach() { hub.assumeIsolated { $0.ready(watcher) } }

    /// The watcher has a socket now, and was sent nothing of what it was let in with: it is asked about again.
    ///
    /// On the hub's thread only.
    ///
    /// - Parameter version: What its client has; 0 for nothing.
    public func attach(given version: Int64) { hub.assumeIsolated { $0.ready(watcher, given: version) } }
}

/// What came of wanting to watch a session.
public enum WatchOpening: Sendable {
    /// The user may see it: this is the state as it stands, and what is newer will be delivered.
    ///
    /// There is no watch when the session is finished: nothing newer comes.
    case opened(SessionOpening, Watch?)
    /// The user may not see it, for the reason given.
    case refused(SessionOpening.Verdict)
    /// It may not begin now.
    case turnedAway(TurningAway)
}

/// Why somebody may not watch now who otherwise may.
public enum TurningAway: String, Sendable {
    /// There are too many streams, in all or of this user, or too many who want one.
    case tooMany = "too many streams"
    /// The server stops.
    case closing = "shutting down"
}
