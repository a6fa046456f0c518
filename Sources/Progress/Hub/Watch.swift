/// A watcher that was let in and has no socket yet: without a socket, the end of this object ends the watcher.
public final class Watch: Sendable {
    /// The watcher, to which the sink delivers.
    public let watcher: WatcherID
    private let hub: ProgressHub

    init(watcher: WatcherID, hub: ProgressHub) {
        self.watcher = watcher
        self.hub = hub
    }

    deinit { hub.abandon(watcher) }

    /// Whether the snapshot that the watcher was let in with may be sent: no read has shown since that rights have changed.
    ///
    /// On the hub's thread only.
    public var isCurrent: Bool { hub.assumeIsolated { $0.isCurrent(watcher) } }

    /// The watcher has a socket now; on the hub's thread only.
    public func attach() { hub.assumeIsolated { $0.ready(watcher) } }

    /// The watcher has a socket now, and its snapshot was not sent there: it is asked about again.
    ///
    /// On the hub's thread only.
    ///
    /// - Parameter version: The version that its client has; 0 for none.
    public func attachWithoutSnapshot(clientHas version: Int64) {
        hub.assumeIsolated { $0.attachWithoutSnapshot(watcher, clientHas: version) }
    }
}
