import Credentials
import Domain
import HTTPTypes
import Hummingbird
import Store

/// Ends the sign-ins that the tokens of a sign-out request belong to.
///
/// A user who signs out wants the sign-in to end, even if the access token has expired. The token must therefore be
/// genuine, but may be expired. A request without any token gets the same answer as one whose sign-in has already
/// ended.
struct SignOut: Sendable {
    let signIns: SignInStore
    let tokens: AccessTokens
    let provider: IdentityProvider?
    let settings: HTTPSettings
    let limits: AttemptLimits

    /// Ends the sign-in of each credential in the request.
    ///
    /// - Parameters:
    ///   - request: The request.
    ///   - bodyToken: The `refresh_token` of its body; nil if there is none.
    ///   - context: Its context.
    /// - Throws: A 403 for a cookie on a request from a page of another website; a 429 after too many unknown refresh
    ///   tokens.
    func perform(_ request: Request, bodyToken: String?, _ context: AppContext) async throws {
        let credential = AccessCredential(request)
        var refreshTokens = [bodyToken].compactMap { $0 }
        switch credential {
        case .bearer(let token):
            try await end(accessToken: token)
        case .unreadable:
            // A request with this header uses no cookie.
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

    /// Ends the sign-in of a refresh token.
    ///
    /// The limit on unknown tokens is the one of a refresh.
    private func end(refreshToken token: String, _ request: Request, _ context: AppContext) async throws {
        try await limits.checkRefresh(request, context)
        let isKnown = try await signIns.end(refreshHash: RefreshToken.hash(of: token))
        if !isKnown { try await limits.chargeRefresh(request, context) }
    }
}
