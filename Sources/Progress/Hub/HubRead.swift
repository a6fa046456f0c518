import Store

/// A read that a sub-machine wants.
///
/// Each kind of read is a case of the type of its sub-machine, with the call of the reader beside it. A new kind changes
/// nothing in this file.
enum HubRead: Sendable {
    case sessions(SessionReads.Lane, SessionRead)
    case watchers(Watchers.Read)
    case subscriptions(SubscriptionRead)
    case databaseSnapshot

    /// The sub-machine that wants a read, and its lane.
    enum Source {
        case sessions(SessionReads.Lane)
        case watchers(Watchers.Lane)
        case subscriptions(PendingSubscriptions.Lane)
        case poll

        /// All sources, in the order in which their reads begin.
        static let all: [Source] =
            SessionReads.Lane.allCases.map(Source.sessions) + Watchers.Lane.all.map(Source.watchers)
            + PendingSubscriptions.Lane.allCases.map(Source.subscriptions) + [.poll]

        /// Whether the source begins no read while the hub waits after a failure.
        ///
        /// The reads of subscriptions begin nevertheless, and their callers get the error. The poll does too, and finds out
        /// when the failure is over.
        var waitsForRetry: Bool {
            switch self {
            case .sessions, .watchers: true
            case .subscriptions, .poll: false
            }
        }
    }
}

/// The answer to a ``HubRead``.
enum HubAnswer: Sendable {
    case sessions(SessionReads.Lane, SessionReadAnswer)
    case watchers(Watchers.Answer)
    case subscriptions(SubscriptionReadAnswer)
    case databaseSnapshot(String)

    /// The epoch of rights in the same database snapshot; nil if the read does not include it, or each watcher has its own.
    var epoch: Int64? {
        switch self {
        case .sessions(_, let answer): answer.epoch
        case .watchers(let answer): answer.epoch
        case .subscriptions, .databaseSnapshot: nil
        }
    }

    /// The number of rows that this release cannot read.
    var unreadable: Int {
        switch self {
        case .sessions(_, let answer): answer.unreadable.count
        case .watchers(.followers(.feed(let changes))): changes.unreadable
        case .watchers, .subscriptions, .databaseSnapshot: 0
        }
    }
}

extension HubRead {
    /// Reads from the database.
    func answer(from reader: any ProgressReader) async throws -> HubAnswer {
        switch self {
        case .sessions(let lane, let read): .sessions(lane, try await read.answer(from: reader))
        case .watchers(let read): .watchers(try await read.answer(from: reader))
        case .subscriptions(let read): .subscriptions(try await read.answer(from: reader))
        case .databaseSnapshot: .databaseSnapshot(try await reader.databaseSnapshot())
        }
    }
}
