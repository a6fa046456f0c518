import Domain

/// A change that the hub has given to streams, for the metrics.
///
/// A change counts once for the streams of its session and once for the streams of all sessions, however many there are. The
/// first state of a stream is no change, and neither is what a catch-up reads for a slow client.
struct ShownChange: Equatable {
    /// The streams that got the change.
    enum Streams: String, CaseIterable {
        /// The streams of one session.
        case session
        /// The streams of all sessions.
        case all
    }

    /// Why the hub has found the change.
    enum Cause: Equatable {
        /// A hint of the change came at this moment, and the hub has read the session since.
        case hint(ContinuousClock.Instant)
        /// A poll named the session, and no hint did.
        case poll
        /// The hub read everything because hints may have been lost.
        case resync
        /// Another read: the one 600 ms after news, one for another session, or one for another watcher.
        case other

        /// The value of the label.
        enum Label: String, CaseIterable { case hint, poll, resync, other }

        var label: Label {
            switch self {
            case .hint: .hint
            case .poll: .poll
            case .resync: .resync
            case .other: .other
            }
        }
    }

    var streams: Streams
    var cause: Cause
    /// When the statement that made the change began, by the clock of the database.
    var changedAt: Timestamp
}

extension ShownChange {
    /// The changes of one session that messages to its watchers contain: the state, and the transitions before it.
    ///
    /// - Parameters:
    ///   - news: What the read has found.
    ///   - cause: Why the read was made.
    ///   - actions: The messages.
    /// - Returns: Each change once; empty if no watcher gets a message.
    static func changes(in news: SessionReading, _ cause: Cause, by actions: [Watchers.Action]) -> [ShownChange] {
        var oldest: Int64?
        for case .deliver(let delivery) in actions {
            oldest = min(oldest ?? delivery.previousVersion, delivery.previousVersion)
        }
        guard let oldest else { return [] }
        var changes: [ShownChange] = []
        for transition in news.transitions
        where transition.version > oldest && transition.version < news.progress.version {
            changes.append(ShownChange(streams: .session, cause: cause, changedAt: transition.at))
        }
        changes.append(ShownChange(streams: .session, cause: cause, changedAt: news.progress.updatedAt))
        return changes
    }

    /// The changes that messages to followers contain.
    ///
    /// - Parameters:
    ///   - causes: Why the feed has found each session that has changed.
    ///   - actions: The messages.
    /// - Returns: Each change once. A session counts as the first follower sees it that gets it.
    static func changes(_ causes: [SessionID: Cause], by actions: [Followers.Action]) -> [ShownChange] {
        var (causes, changes) = (causes, [ShownChange]())
        for case .deliver(let delivery) in actions {
            // With many followers, the first ones get everything.
            guard !causes.isEmpty else { break }
            guard case .caseload(let events, _, _) = delivery.message else { continue }
            for case let progress? in events.lazy.map(\.progress) {
                guard let cause = causes[progress.sessionID] else { continue }
                changes.append(ShownChange(streams: .all, cause: cause, changedAt: progress.updatedAt))
            }
            for case let progress? in events.lazy.map(\.progress) { causes[progress.sessionID] = nil }
        }
        return changes
    }
}
