import Polling

/// The events of the change source and of the sockets.
extension ProgressHub {
    /// Handles the events of a ``ChangeSource``.
    public func receive(_ events: [ChangeEvent]) {
        let now = now
        handle { machine in
            for event in events {
                switch event {
                case .hints(let hints):
                    metrics.hinted(hints.count)
                    for hint in hints { machine.hint(hint.session, version: hint.version, at: now) }
                case .resync: machine.resync(at: now)
                case .rightsChanged: machine.rightsChanged()
                case .workWaiting, .webhooksWaiting, .degraded, .lookDue: break
                }
            }
            return []
        }
    }

    // MARK: - Sockets (on the hub's thread)

    /// A watcher got a socket, or its socket has room again.
    public func ready(_ watcher: WatcherID) { handle { $0.unblocked(watcher) } }

    /// A watcher got a socket, and its snapshot was not sent there.
    func attachWithoutSnapshot(_ watcher: WatcherID, clientHas version: Int64) {
        handle { $0.attachedWithoutSnapshot(watcher, clientHas: version) }
    }

    /// Whether no read has shown that rights have changed since a watcher began.
    func isCurrent(_ watcher: WatcherID) -> Bool { machine.isCurrent(watcher) }

    /// The socket of a watcher has no room.
    public func filled(_ watcher: WatcherID) {
        handle {
            $0.blocked(watcher)
            return []
        }
    }

    /// The client of a watcher has ended the stream, and its socket closes soon.
    public func leaving(_ watcher: WatcherID) {
        handle {
            $0.ended(watcher)
            return []
        }
    }

    /// The socket of a watcher is closed.
    public func closed(_ watcher: WatcherID) {
        handle {
            $0.closed(watcher)
            return []
        }
    }

    /// The access token of a watcher has expired.
    public func expired(_ watcher: WatcherID) {
        handle { [.deliver(Delivery(.expired($0.watchers.table.session(of: watcher)), to: [watcher]))] }
    }

    /// The stream of a watcher has reached its maximum age.
    public func outlived(_ watcher: WatcherID) {
        handle { _ in [.deliver(Delivery(.reconnect, to: [watcher]))] }
    }

    /// The ``Watch`` of a watcher was released: without a socket, the watcher ends.
    nonisolated func abandon(_ watcher: WatcherID) {
        poller.execute {
            self.assumeIsolated { hub in
                hub.handle {
                    $0.abandoned(watcher)
                    return []
                }
            }
        }
    }
}
