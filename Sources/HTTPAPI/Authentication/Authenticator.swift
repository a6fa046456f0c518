import Credentials
import Domain
import HTTPTypes
import Hummingbird
import Store

/// Reads where a request comes from, and its credential: `Authorization: Bearer`, or else the cookie.
///
/// It verifies the token only. The handler asks the database whether account and sign-in are still valid, in the
/// statement that reads what it needs. Only the token of an identity provider needs a query here, for the account it
/// belongs to.
struct Authenticator: RouterMiddleware {
    let tokens: AccessTokens
    let provider: IdentityProvider?
    let signIns: SignInStore
    let settings: HTTPSettings

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        context.network = settings.clientAddress(of: request, over: context.connection)?.network
        switch AccessCredential(request) {
        case .bearer(let token):
            await read(token, of: request, into: &context)
        case .cookie(let token) where request.method.isSafe || settings.isFromOwnPage(request):
            await read(token, of: request, into: &context)
        case .cookie:
            context.refusal = Problem.originForbidden
        case .unreadable, nil:
            break
        }
        return try await next(request, context)
    }

    private func read(_ token: String, of request: Request, into context: inout AppContext) async {
        context.claims = await tokens.verify(token)
        guard context.claims == nil, let provider, let claims = await provider.verify(token) else { return }
        do {
            let found = try await signIns.admit(
                claims.signIn, issuer: provider.issuer, email: claims.email, expiresAt: claims.expiresAt,
                terms: settings.signIn.terms, client: settings.client(of: request, over: context.connection))
            guard let (user, isActive) = found else { return }
            if isActive {
                context.claims = AccessClaims(user: user, signIn: claims.signIn, expiresAt: claims.expiresAt)
            } else {
                context.refusal = Problem.inactive
            }
        } catch {
            context.refusal = error
        }
    }
}

/// Loads the user of a valid token, and checks that account and sign-in have not ended.
struct UserLoader: RouterMiddleware {
    let users: UserStore

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        if let refusal = context.refusal { throw refusal }
        guard let claims = context.claims,
            let (user, isActive) = try await users.account(of: claims.user, signIn: claims.signIn)
        else { throw Problem.unauthorized }
        guard isActive else { throw Problem.inactive }
        var context = context
        context.user = user
        return try await next(request, context)
    }
}

extension HTTPRequest.Method {
    /// True if the method should change nothing (RFC 9110, 9.2.1).
    var isSafe: Bool { [.get, .head, .options, .trace].contains(self) }
}
