import Credentials
import Domain
import Hummingbird
import Store

/// Where a request for a session is let in or turned away.
struct SessionGate: Sendable {
    let progress: ProgressStore

    /// Asks for user, session, right and state, and records what is done or refused, in one statement; and applies the
    /// rule.
    ///
    /// The action is one on a session: ``AuditAction/need`` tells the right that it takes.
    ///
    /// - Returns: The state as it stands.
    /// - Throws: A ``Problem``: 401, 403 or 404; the error of the database, also when it could not be recorded.
    @discardableResult
    func authorize(
        _ session: SessionID, for context: TokenContext, to action: AuditAction
    ) async throws -> SessionProgress {
        let opening = try await progress.admit(
            AuthorizationRequest(session, for: context.claims.principal, action: action, requestID: context.requestID))
        guard let need = action.need, opening.permits(need) else { throw Problem(refusing: opening.verdict) }
        guard let progress = opening.progress else { throw UnreadableProgress() }
        return progress
    }

    /// Turns somebody away who was found elsewhere to have no right to an action, and records that.
    ///
    /// - Returns: What to answer: 401, 403 or 404.
    /// - Throws: The error of the database when it could not be recorded.
    func refuse(_ session: SessionID, for context: TokenContext, to action: AuditAction) async throws -> Problem {
        // An action without a need is one that the gate lets nobody do.
        precondition(action.need == nil)
        let opening = try await progress.admit(
            AuthorizationRequest(session, for: context.claims.principal, action: action, requestID: context.requestID))
        return Problem(refusing: opening.verdict)
    }
}

extension Problem {
    /// Why somebody is not let in to a session.
    init(refusing verdict: SessionAuthorization.Verdict) {
        switch verdict {
        case .notSignedIn: self = .unauthorized
        case .inactive: self = .inactive
        case .noSession: self = .noSession
        case .found: self = .forbidden
        }
    }
}
