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

    /// The watcher has a socket now; on the hub's thread only.
    public func attach() { hub.assumeIsolated { $0.ready(watcher) } }
}

/// What came of wanting to watch a session.
public enum WatchOpening: Sendable {
    /// The user may see it: this is the state as it stands, and what is newer will be delivered.
    ///
    /// There is no watch when the session is finished: nothing newer comes.
    case opened(SessionOpening, Watch?)
    /// The user may not see it, for the reason given.
    case refused(SessionOpening.Verdict)
    /// There are too many streams, in all or of this user, or too many who want one, or the server stops.
    case turnedAway
}
