import Store

/// A read that a sub-machine wants.
///
/// Each kind of read is a case of the type of its sub-machine, with the call of the reader beside it. A new kind changes
/// nothing in this file.
enum HubRead: Sendable {
    case sessions(SessionReads.Lane, SessionRead)
    case watchers(Watchers.Read)
    case subscriptions(SubscriptionRead)
    case rights(since: DatabaseSnapshot?)
    case poll(hintsSince: DatabaseSnapshot?, rightsSince: DatabaseSnapshot?)

    /// The sub-machine that wants a read, and its lane.
    enum Source {
        case sessions(SessionReads.Lane)
        case watchers(Watchers.Lane)
        case subscriptions(PendingSubscriptions.Lane)
        case rights
        case poll

        /// All sources, in the order in which their reads begin.
        static let all: [Source] =
            SessionReads.Lane.allCases.map(Source.sessions) + Watchers.Lane.all.map(Source.watchers)
            + PendingSubscriptions.Lane.allCases.map(Source.subscriptions) + [.rights, .poll]

        /// Whether the source begins no read while the hub waits after a failure.
        ///
        /// The reads of subscriptions begin nevertheless, and their callers get the error. The poll does too: it finds out when
        /// the failure is over.
        var waitsForRetry: Bool {
            switch self {
            case .sessions, .watchers, .rights: true
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
    case rights(RightsNews)
    case poll(HintNews)

    /// The changes of rights in the same database snapshot; nil if the read did not look for any.
    var rights: RightsNews? {
        switch self {
        case .sessions(_, let answer): answer.rights
        case .watchers(.followers(.feed(let changes))): changes.rights
        case .watchers(.followers(.single(.sessions(_, let changes)))): changes.rights
        case .rights(let news): news
        case .poll(let news): news.rights
        case .watchers, .subscriptions: nil
        }
    }

    /// The timeline on which the read was made; nil if the read did not ask.
    var timeline: DatabaseTimeline? {
        switch self {
        case .watchers(.followers(.single(.caseload(_, let refresh)))): refresh.caseload.position.snapshot.timeline
        case .subscriptions(.caseload(_, let caseload, _)): caseload.position.snapshot.timeline
        default: rights?.snapshot.timeline
        }
    }

    /// The number of rows that this release cannot read.
    var unreadable: Int {
        switch self {
        case .sessions(_, let answer): answer.unreadable.count
        case .watchers(.followers(.feed(let changes))): changes.unreadable
        case .watchers, .subscriptions, .rights, .poll: 0
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
        case .rights(let snapshot): .rights(try await reader.rights(since: snapshot))
        case .poll(let hints, let rights): .poll(try await reader.hints(since: hints, rightsSince: rights))
        }
    }
}
