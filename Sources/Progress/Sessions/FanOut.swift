import Domain

/// Brings what a read has found of a session to its watchers.
///
/// One rule carries correctness: a state goes to a watcher when its version is newer than the last that was sent there. A
/// watcher that cannot have this news is behind, and a catch-up reads for it alone.
enum FanOut {
    /// Passes the news of a session on to its watchers.
    ///
    /// - Parameters:
    ///   - from: The version that the read asked from.
    ///   - epoch: The epoch of rights in the same snapshot.
    static func pass(
        _ news: SessionReading, from: Int64, under epoch: Int64, to table: inout WatcherTable, rights: Rights,
        catchUps: inout CatchUps
    ) -> [HubAction] {
        guard let session = table.index.slot(of: news.progress.sessionID) else { return [] }
        let version = news.progress.version
        var actions: [HubAction] = []
        // Watchers with the same version before get the same message; nearly always they all do.
        var groups: [(previous: Int64, watchers: [WatcherID])] = []
        var next = table.firstWatcher(ofSessionAt: session)
        while let id = next {
            next = table.watcher(after: id)
            let (state, sent) = (table.state(of: id), table.sent(to: id))
            // One without a snapshot will begin with one that is as new, or be behind.
            guard state.hasBegun, sent < version else { continue }
            if state.isLocal {
                guard sent >= from else { continue }
                table.setSent(version, to: id)
                actions.append(.update(id, news.progress))
            } else if state.isReady, !catchUps.isBehind(id), sent >= from, rights.permits(id, under: epoch) {
                table.setSent(version, to: id)
                if let index = groups.firstIndex(where: { $0.previous == sent }) {
                    groups[index].watchers.append(id)
                } else {
                    groups.append((sent, [id]))
                }
            } else {
                catchUps.missed(id, isReady: state.isReady)
            }
        }
        return groups.map { .deliver(news.delivery(to: $0.watchers, from: $0.previous)) } + actions
    }

    /// A session was not found: a watcher with a socket is asked about again, alone.
    static func missing(
        _ session: SessionID, endsLocalSubscribers: Bool, in table: inout WatcherTable, catchUps: inout CatchUps
    ) -> [HubAction] {
        guard let slot = table.index.slot(of: session) else { return [] }
        var actions: [HubAction] = []
        for id in table.watchers(ofSessionAt: slot) {
            switch table.state(of: id) {
            case .ready: catchUps.missed(id, isReady: true)
            case .detached, .blocked: catchUps.missed(id, isReady: false)
            case .local where endsLocalSubscribers:
                table.remove(id)
                actions.append(.finish(id))
            case .local, .free, .opening, .ended: continue
            }
        }
        return actions
    }
}

extension SessionReading {
    /// The message for watchers that have a version: the transitions since, then the state.
    func delivery(to watchers: [WatcherID], from previous: Int64) -> Delivery {
        let missed = transitions.filter { $0.version > previous && $0.version < progress.version }
        return Delivery(.state(progress, after: missed), to: watchers, previous: previous)
    }
}
