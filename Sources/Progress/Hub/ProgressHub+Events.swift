import Polling

/// What the source of hints and the sink tell the hub.
extension ProgressHub {
    /// Takes in the events of a ``ChangeSource``.
    public func receive(_ events: [ChangeEvent]) {
        handle { machine in
            for event in events {
                switch event {
                case .hints(let hints):
                    metrics.hinted(hints.count)
                    for hint in hints { machine.hint(hint.session, version: hint.version) }
                case .resync: machine.resync()
                case .rightsChanged: machine.rightsChanged()
                case .workWaiting, .degraded: break
                }
            }
            return []
        }
    }

    // MARK: - Sockets, on the hub's thread

    /// The watcher has a socket, or room in it again.
    public func ready(_ watcher: WatcherID) { handle { $0.unblocked(watcher) } }

    /// The watcher has a socket, and the snapshot that it was let in with was not sent there.
    func attachWithoutSnapshot(_ watcher: WatcherID, clientHas version: Int64) {
        handle { $0.attachedWithoutSnapshot(watcher, clientHas: version) }
    }

    /// Whether no read has shown that rights have changed since the watcher was let in.
    func isCurrent(_ watcher: WatcherID) -> Bool { machine.isCurrent(watcher) }

    /// The watcher's socket has no room at present.
    public func filled(_ watcher: WatcherID) {
        handle {
            $0.blocked(watcher)
            return []
        }
    }

    /// The watcher wants no more, and its socket will soon be gone.
    public func leaving(_ watcher: WatcherID) {
        handle {
            $0.ended(watcher)
            return []
        }
    }

    /// The watcher's socket is gone.
    public func closed(_ watcher: WatcherID) {
        handle {
            $0.closed(watcher)
            return []
        }
    }

    /// The watcher's access token has expired.
    public func expired(_ watcher: WatcherID) {
        handle { [.deliver(Delivery(.expired($0.table.session(of: watcher)), to: [watcher]))] }
    }

    /// The watcher's stream has lived as long as one may.
    public func outlived(_ watcher: WatcherID) {
        handle { _ in [.deliver(Delivery(.reconnect, to: [watcher]))] }
    }

    /// Nobody will give the watcher a socket any more, if it has none.
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
