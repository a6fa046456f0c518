import Credentials
import Domain
import Hummingbird
import Store

/// Where a request for a session is let in or turned away.
struct SessionGate: Sendable {
    let progress: ProgressStore

    /// Asks for user, session, right and state in one statement, and applies the rule.
    ///
    /// - Returns: The state as it stands.
    /// - Throws: A ``Problem``: 401, 403 or 404.
    func open(
        _ session: SessionID, for claims: AccessClaims, to action: SessionAction
    ) async throws -> SessionProgress {
        let opening = try await progress.open(session, for: claims.principal)
        guard opening.permits(action) else { throw Problem(refusing: opening.verdict) }
        guard let progress = opening.progress else { throw UnreadableProgress() }
        return progress
    }
}

/// The state of a session has something that this release does not know.
private struct UnreadableProgress: Error {}

extension Problem {
    /// Why somebody is not let in to a session.
    init(refusing verdict: SessionOpening.Verdict) {
        switch verdict {
        case .notSignedIn: self = .unauthorized
        case .inactive: self = .inactive
        case .noSession: self = .noSession
        case .found: self = .forbidden
        }
    }
}

extension AccessClaims {
    var principal: Principal { Principal(user: user, signIn: signIn) }
}
