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
///
/// The answer clears both cookies. Therefore the cookies count beside an `Authorization` header: a refresh token that the
/// browser forgets must not stay good.
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
        var (accessTokens, refreshTokens): ([String], [String]) = ([], [bodyToken].compactMap { $0 })
        if case .bearer(let token) = AccessCredential(request) { accessTokens.append(token) }
        let accessCookie = request.cookies[SignInCookies.accessName]?.value
        let refreshCookie = request.cookies[SignInCookies.refreshName]?.value
        if settings.isFromOwnPage(request) {
            accessTokens += [accessCookie].compactMap { $0 }
            refreshTokens += [refreshCookie].compactMap { $0 }
        } else if request.headers[.authorization] == nil, accessCookie != nil || refreshCookie != nil {
            throw Problem.originForbidden
        }
        for token in accessTokens { try await end(accessToken: token) }
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
        let address = settings.clientAddress(of: request, over: context.connection)
        try await limits.checkRefresh(from: address)
        let isKnown = try await signIns.end(refreshHash: RefreshToken.hash(of: token))
        if !isKnown { try await limits.chargeRefresh(from: address) }
    }
}
