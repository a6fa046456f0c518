import Credentials
import Domain
import HTTPTypes
import Hummingbird
import Logging
import Postgres
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
    private let peers = UntrustedPeers()

    init(tokens: AccessTokens, provider: IdentityProvider?, signIns: SignInStore, settings: HTTPSettings) {
        self.tokens = tokens
        self.provider = provider
        self.signIns = signIns
        self.settings = settings
    }

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        let origin = settings.origin(of: request, over: context.connection)
        let address = origin?.client
        context.network = address?.network
        if request.headers[.forwardedFor] != nil, let origin { peers.note(origin, settings, context.logger) }
        let credential = AccessCredential(request)
        switch credential {
        case .bearer(let token):
            await read(token, of: request, into: &context)
        case .cookie(let token) where request.method.isSafe || settings.isFromOwnPage(request):
            await read(token, of: request, into: &context)
        case .cookie:
            context.refusal = Problem.originForbidden
        case .unreadable, nil:
            break
        }
        if let user = context.claims?.user { context.caller.found(user) }
        do {
            return try await next(request, context)
        } catch let problem as Problem where problem.kind == .unauthorized {
            let reason = await reason(credential, context)
            context.logger.info("not signed in", metadata: ["reason": "\(reason)"])
            throw problem
        } catch let problem as Problem where problem.kind == .tooManyRequests {
            context.logger.notice(
                "over a limit",
                metadata: ["address": "\(address?.description ?? "unknown")", "reason": "\(problem.detail)"])
            throw problem
        }
    }

    /// Why a request counts as not signed in, for the operator alone.
    private func reason(_ credential: AccessCredential?, _ context: AppContext) async -> String {
        switch credential {
        case nil: "the request has no credential"
        case .unreadable: "the header Authorization has no bearer token"
        case .bearer where context.claims != nil, .cookie where context.claims != nil:
            "the sign-in has ended, or the account was removed"
        case .bearer(let token), .cookie(let token): await tokens.fault(of: token)
        }
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
        do {
            return try await next(request, context)
        } catch {
            if Self.isAboutRights(error, of: request) { try await checkAgain(claims) }
            let isRefused = (error as? PostgresError)?.constraintName == SchemaRefusal.notPermitted.rawValue
            throw isRefused ? Problem.forbidden : error
        }
    }

    /// True if an error can come from a sign-in that ended while the request was under way.
    ///
    /// Policies and functions of the database then raise 42501. A trigger that sees no row raises 23514, and a query finds nothing.
    private static func isAboutRights(_ error: any Error, of request: Request) -> Bool {
        switch error {
        case let error as PostgresError where error.isLeaseFault: false
        case let error as PostgresError:
            error.sqlState == .insufficientPrivilege || error.sqlState == .checkViolation
        case is SignInEnded: true
        case let problem as Problem: problem.kind == .notFound && !request.method.isSafe
        default: false
        }
    }

    /// Checks once more that account and sign-in have not ended: they can end while a request is under way.
    ///
    /// - Throws: 401 or 403 if they have; ``PostgresError`` if the database does not answer.
    private func checkAgain(_ claims: AccessClaims) async throws {
        guard let (_, isActive) = try await users.account(of: claims.user, signIn: claims.signIn) else {
            throw Problem.unauthorized
        }
        guard isActive else { throw Problem.inactive }
    }
}

extension HTTPRequest.Method {
    /// True if the method should change nothing (RFC 9110, 9.2.1).
    var isSafe: Bool { [.get, .head, .options, .trace].contains(self) }
}
