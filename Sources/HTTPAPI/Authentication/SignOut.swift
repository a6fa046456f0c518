import Credentials
import Domain
import HTTPTypes
import Hummingbird
import Store

/// Ends the sign-ins that a sign-out names, by whatever token names them.
///
/// A person who signs out wants the sign-in to be over, even when the access token has expired meanwhile. So a token only
/// has to be genuine here, not fresh, and a request without any is answered as if its sign-in had ended long ago.
struct SignOut: Sendable {
    let signIns: SignInStore
    let tokens: AccessTokens
    let provider: IdentityProvider?
    let settings: HTTPSettings
    let limits: AttemptLimits

    /// Ends the sign-in of each credential that came, with the `refresh_token` of the body among them, if there is one.
    ///
    /// - Throws: A 403 for a cookie that came with another site's page; a 429 after too many unknown refresh tokens.
    func perform(_ request: Request, bodyToken: String?, _ context: AppContext) async throws {
        let credential = AccessCredential(request)
        var refreshTokens = [bodyToken].compactMap { $0 }
        switch credential {
        case .bearer(let token):
            try await end(accessToken: token)
        case .unreadable:
            // The header decides alone.
            break
        case .cookie, nil:
            let refreshCookie = request.cookies[SignInCookies.refreshName]?.value
            guard credential == nil && refreshCookie == nil || settings.isFromOwnPage(request) else {
                throw Problem.originForbidden
            }
            if case .cookie(let token) = credential { try await end(accessToken: token) }
            refreshTokens += [refreshCookie].compactMap { $0 }
        }
        for token in refreshTokens where !token.isEmpty { try await end(refreshToken: token, request, context) }
    }

    private func end(accessToken token: String) async throws {
        var signIn = await tokens.verify(token, acceptsExpired: true)?.signIn
        if signIn == nil { signIn = await provider?.verify(token, acceptsExpired: true)?.signIn }
        if let signIn { try await signIns.end(signIn) }
    }

    /// Unknown tokens are limited as they are at a refresh.
    private func end(refreshToken token: String, _ request: Request, _ context: AppContext) async throws {
        try await limits.checkRefresh(request, context)
        let isKnown = try await signIns.end(refreshHash: RefreshToken.hash(of: token))
        if !isKnown { try await limits.chargeRefresh(request, context) }
    }
}
