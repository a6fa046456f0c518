import Domain
import Store

/// A watcher whose right the hub reads: with the state of its session for a catch-up, without it for a sweep.
struct WatcherRequest: Equatable, Sendable {
    var watcher: WatcherID
    var principal: Principal
    var session: SessionID
    /// The version that was sent to the watcher last.
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
