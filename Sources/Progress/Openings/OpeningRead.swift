import Domain
public import Store

/// A watcher that waits to be let in.
struct SessionOpener: Sendable {
    let watcher: WatcherID
    let request: AuthorizationRequest
}

/// A follower that waits for its caseload.
struct CaseloadOpener: Sendable {
    let watcher: WatcherID
    let principal: Principal
    /// Where the client left off; nil for a new stream.
    let position: FeedPosition?
    /// The request behind it, for the audit log.
    let requestID: String?
}

/// A read that lets watchers in, and records that.
enum OpeningRead: Sendable {
    case sessions([SessionOpener])
    case caseload(CaseloadOpener)

    var watchers: [WatcherID] {
        switch self {
        case .sessions(let openers): openers.map(\.watcher)
        case .caseload(let opener): [opener.watcher]
        }
    }
}

/// The answer to an ``OpeningRead``.
enum OpeningReadAnswer: Sendable {
    /// For each opener in order.
    case sessions([SessionOpener], [SessionAuthorization])
    /// With what the client has missed; nil where it cannot go on from its position, or has none.
    case caseload(CaseloadOpener, Caseload, MissedChanges?)
}

extension OpeningRead {
    func answer(from reader: any ProgressReader) async throws -> OpeningReadAnswer {
        switch self {
        case .sessions(let openers):
            return .sessions(openers, try await reader.admit(openers.map(\.request)))
        case .caseload(let opener):
            let caseload = try await reader.admitCaseload(
                of: opener.principal, resumes: opener.position != nil, requestID: opener.requestID)
            guard caseload.refusal == nil, let position = opener.position else {
                return .caseload(opener, caseload, nil)
            }
            // Between two snapshots lies the same whenever it is asked for.
            let missed = try await reader.missed(from: position, to: caseload.position, in: caseload.scope)
            return .caseload(opener, caseload, missed)
        }
    }
}

/// The answer to a request for a stream of one session.
public enum SubscribeOutcome: Sendable {
    /// The user may see it: this is the present state, and what is newer will be delivered.
    ///
    /// There is no watch when the session is finished: nothing newer comes.
    case subscribed(SessionAuthorization, Watch?)
    /// The user may not see it, for the reason given.
    case refused(SessionAuthorization.Verdict)
    /// The stream may not begin now.
    case rejected(Rejection)
}

/// The answer to a request for the stream of all sessions.
public enum SubscribeToAllOutcome: Sendable {
    /// These are the events to begin with, with the position before them (the client's) and after.
    case subscribed(Watch, [CaseloadEvent], before: FeedPosition?, after: FeedPosition)
    /// The user may follow nothing, for the reason given.
    case refused(SessionAuthorization.Verdict)
    /// The stream may not begin now.
    case rejected(Rejection)
}

/// Why a stream may not begin now that otherwise may.
public enum Rejection: String, Sendable {
    /// There are too many streams, in all or of this user, or too many that wait to be let in.
    case tooMany = "too many streams"
    /// The server stops.
    case closing = "shutting down"
}
