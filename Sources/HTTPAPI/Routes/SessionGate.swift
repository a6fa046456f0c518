import Credentials
import Domain
import Hummingbird
import Store

/// Where a request for a session is let in or turned away.
struct SessionGate: Sendable {
    let progress: ProgressStore

    /// A session that the caller was let in to.
    struct Opened: Sendable {
        let progress: SessionProgress
        /// As long as the database's epoch of rights is this, the right stands.
        let rightsEpoch: Int64
    }

    /// Asks for user, session, right and state in one statement, and applies the rule.
    ///
    /// - Throws: A ``Problem``: 401, 403 or 404.
    func open(_ session: SessionID, for claims: AccessClaims, to action: SessionAction) async throws -> Opened {
        let opening = try await progress.open(session, user: claims.user, signIn: claims.signIn)
        switch opening.verdict {
        case .notSignedIn: throw Problem.unauthorized
        case .inactive: throw Problem.inactive
        case .noSession: throw Problem.noSession
        case .found(let role, let relation):
            guard Access.permits(action, to: role, as: relation), let progress = opening.progress else {
                throw Problem.forbidden
            }
            return Opened(progress: progress, rightsEpoch: opening.rightsEpoch)
        }
    }
}
