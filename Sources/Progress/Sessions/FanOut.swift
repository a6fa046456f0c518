import Domain

/// Brings the news of a session to its watchers.
///
/// Correctness rests on one rule: a watcher gets a state only if its version is newer than the one that was sent last.
/// A watcher that cannot get the news is behind, and a catch-up reads its state.
enum FanOut {
    /// Passes the news of a session on to its watchers.
    ///
    /// - Parameters:
    ///   - news: What the read has found.
    ///   - from: The version after which the read looked for news.
    ///   - table: The watchers.
    ///   - rights: Which watchers may get the news.
    ///   - catchUps: Gets the watchers that are behind.
    /// - Returns: The messages, and the states for local subscribers.
    static func pass(
        _ news: SessionReading, from: Int64, to table: inout WatcherTable, rights: Rights, catchUps: inout CatchUps
    ) -> [Watchers.Action] {
        guard let session = table.index.slot(of: news.progress.sessionID) else { return [] }
        let version = news.progress.version
        var actions: [Watchers.Action] = []
        // Watchers that have the same version get the same message. Nearly always all of them do.
        var groups: [(sent: Int64, watchers: [WatcherID])] = []
        var next = table.firstWatcher(ofSessionAt: session)
        while let id = next {
            next = table.watcher(after: id)
            let (state, sent) = (table.state(of: id), table.sent(to: id))
            // A watcher that still waits for its snapshot needs no message: its snapshot will be as new, or a catch-up
            // reads for it.
            guard state.hasBegun, sent < version else { continue }
            if state.isLocal {
                guard sent >= from else { continue }
                table.setSent(version, to: id)
                actions.append(.update(id, news.progress))
            } else if state.isReady, !catchUps.isBehind(id), sent >= from, rights.permits(id) {
                table.setSent(version, to: id)
                if let index = groups.firstIndex(where: { $0.sent == sent }) {
                    groups[index].watchers.append(id)
                } else {
                    groups.append((sent, [id]))
                }
            } else {
                catchUps.missed(id, isReady: state.isReady)
            }
        }
        return groups.map { .deliver(news.delivery(to: $0.watchers, from: $0.sent)) } + actions
    }

    /// A read did not find a session, or could not read it: a catch-up reads it again for each watcher with a socket.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - endsLocalSubscribers: Whether the local subscribers end.
    ///   - table: The watchers.
    ///   - catchUps: Gets the watchers that are behind.
    /// - Returns: The ends of local subscribers.
    static func missing(
        _ session: SessionID, endsLocalSubscribers: Bool, in table: inout WatcherTable, catchUps: inout CatchUps
    ) -> [Watchers.Action] {
        guard let slot = table.index.slot(of: session) else { return [] }
        var actions: [Watchers.Action] = []
        for id in table.watchers(ofSessionAt: slot) {
            switch table.state(of: id) {
            case .ready: catchUps.missed(id, isReady: true)
            case .detached, .blocked: catchUps.missed(id, isReady: false)
            case .local where endsLocalSubscribers:
                table.remove(id)
                actions.append(.finish(id))
            case .local, .free, .authorizing, .ended: continue
            }
        }
        return actions
    }
}

extension SessionReading {
    /// The message for watchers that have a version: the transitions since then, and the state.
    func delivery(to watchers: [WatcherID], from sent: Int64) -> Delivery {
        let missed = transitions.filter { $0.version > sent && $0.version < progress.version }
        return Delivery(.state(progress, after: missed), to: watchers, previousVersion: sent)
    }
}
