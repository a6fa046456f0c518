import Domain
import Store

/// A watcher whose right is read: with its session's state for a catch-up, alone for a sweep.
struct WatcherRequest: Equatable, Sendable {
    var watcher: WatcherID
    var principal: Principal
    var session: SessionID
    /// The version that was last sent to the watcher.
    var version: Int64
}

extension WatcherRequest {
    /// The request of a watcher of one session that has begun and has a socket; nil for any other.
    init?(_ id: WatcherID, in table: WatcherTable) {
        guard let principal = table.state(of: id).attachedPrincipal, let session = table.session(of: id) else {
            return nil
        }
        self.init(watcher: id, principal: principal, session: session, version: table.sent(to: id))
    }
}
