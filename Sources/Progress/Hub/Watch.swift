import Synchronization

/// A watcher that has its snapshot and no socket yet.
///
/// If this object is released before the watcher has a socket, the watcher ends.
public final class Watch: Sendable {
    /// The watcher, to which the sink delivers.
    public let watcher: WatcherID
    private let hub: ProgressHub
    private let isAttached = Atomic(false)

    init(watcher: WatcherID, hub: ProgressHub) {
        self.watcher = watcher
        self.hub = hub
    }

    deinit { if !isAttached.load(ordering: .acquiring) { hub.abandon(watcher) } }

    /// Whether the snapshot may be sent: no read has shown since that rights have changed.
    ///
    /// Call it on the hub's thread only.
    public var isCurrent: Bool { hub.assumeIsolated { $0.isCurrent(watcher) } }

    /// The watcher got a socket, and its snapshot was sent there.
    ///
    /// Call it on the hub's thread only.
    public func attach() {
        isAttached.store(true, ordering: .releasing)
        hub.assumeIsolated { $0.ready(watcher) }
    }

    /// The watcher got a socket, and its snapshot was not sent there: the hub reads its right and its state again.
    ///
    /// Call it on the hub's thread only.
    ///
    /// - Parameter version: The version that its client has; 0 for none.
    public func attachWithoutSnapshot(clientHas version: Int64) {
        isAttached.store(true, ordering: .releasing)
        hub.assumeIsolated { $0.attachWithoutSnapshot(watcher, clientHas: version) }
    }
}
