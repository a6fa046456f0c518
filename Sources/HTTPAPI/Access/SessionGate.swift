import Credentials
import Domain
import Hummingbird
import Store

/// Authorizes requests that concern one session.
struct SessionGate: Sendable {
    let progress: ProgressStore

    /// Authorizes an action on a session, and records the action or its refusal in the audit log.
    ///
    /// One statement reads the user, the session, the right and the state, and writes the record. ``AuditAction/need``
    /// gives the right that the action needs, unless `need` is another one.
    ///
    /// - Returns: The present state of the session.
    /// - Throws: A ``Problem`` with 401, 403 or 404; the error of the database, also if it cannot write the record.
    @discardableResult
    func authorize(
        _ session: SessionID, for context: TokenContext, to action: AuditAction, needing need: SessionAction? = nil
    ) async throws -> SessionProgress {
        let authorization = try await progress.admit(
            AuthorizationRequest(
                session, for: context.claims.principal, action: action, needing: need, requestID: context.requestID,
                network: context.network))
        guard let need = need ?? action.need, authorization.permits(need) else {
            throw Problem(refusing: authorization.verdict)
        }
        guard let progress = authorization.progress else { throw UnreadableRow(.status) }
        return progress
    }

    /// Records a refusal that another part of the server has decided: the caller has no right to the action.
    ///
    /// - Returns: The problem to answer: 401, 403 or 404.
    /// - Throws: The error of the database if it cannot write the record.
    func refuse(_ session: SessionID, for context: TokenContext, to action: AuditAction) async throws -> Problem {
        // `admit` refuses an action without a need to every caller.
        precondition(action.need == nil)
        let authorization = try await progress.admit(
            AuthorizationRequest(
                session, for: context.claims.principal, action: action, requestID: context.requestID,
                network: context.network))
        return Problem(refusing: authorization.verdict)
    }
}

extension Problem {
    /// The problem for a caller that has no right to a session.
    init(refusing verdict: SessionAuthorization.Verdict) {
        switch verdict {
        case .notSignedIn: self = .unauthorized
        case .inactive: self = .inactive
        case .noSession: self = .noSession
        case .found: self = .forbidden
        case .unreadable: self = .unreadable
        }
    }
}
