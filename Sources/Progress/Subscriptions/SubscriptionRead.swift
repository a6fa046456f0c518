import Domain
import Store

/// A subscription to one session, before its authorization and snapshot are read.
struct PendingSubscription: Sendable {
    let watcher: WatcherID
    let request: AuthorizationRequest
}

/// A subscription to all sessions, before its caseload is read.
struct PendingCaseloadSubscription: Sendable {
    let watcher: WatcherID
    let principal: Principal
    /// The position from which the client resumes; nil for a new stream.
    let position: FeedPosition?
    /// The `X-Request-Id` of the request, for the audit log.
    let requestID: RequestIdentifier?
    /// Where the request came from, for the audit log.
    let network: ClientNetwork?
}

/// A read that admits subscriptions.
enum SubscriptionRead: Sendable {
    case sessions([PendingSubscription])
    case caseload(PendingCaseloadSubscription)

    var watchers: [WatcherID] {
        switch self {
        case .sessions(let subscriptions): subscriptions.map(\.watcher)
        case .caseload(let subscription): [subscription.watcher]
        }
    }
}

/// The answer to a ``SubscriptionRead``.
enum SubscriptionReadAnswer: Sendable {
    /// One authorization for each subscription, in order.
    case sessions([PendingSubscription], [SessionAuthorization])
    /// The caseload, and what the client has missed; nil if it cannot resume from its position, or has none.
    case caseload(PendingCaseloadSubscription, Caseload, MissedChanges?)
}

extension SubscriptionRead {
    func answer(from reader: any ProgressReader) async throws -> SubscriptionReadAnswer {
        switch self {
        case .sessions(let subscriptions):
            return .sessions(subscriptions, try await reader.admit(subscriptions.map(\.request)))
        case .caseload(let subscription):
            let caseload = try await reader.admitCaseload(
                of: subscription.principal, resumes: subscription.position != nil, requestID: subscription.requestID,
                network: subscription.network)
            guard caseload.refusal == nil, let position = subscription.position else {
                return .caseload(subscription, caseload, nil)
            }
            // A later read finds the same between these two database snapshots.
            let missed = try await reader.missed(from: position, to: caseload.position, in: caseload.scope)
            return .caseload(subscription, caseload, missed)
        }
    }
}
