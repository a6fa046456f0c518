import Credentials
import Domain
import DurationUnits
import HTTPTypes
import Hummingbird
import Logging
import Metrics
import Store

/// Sign-in, refresh, sign-out, and the caller's own account: `/api/auth`.
struct AuthenticationRoutes: Sendable {
    let users: UserStore
    let signIns: SignInStore
    let passwords: Passwords
    let tokens: AccessTokens
    let settings: HTTPSettings
    let limits: AttemptLimits
    let signOut: SignOut
    let metrics: SignInMetrics

    func add(to table: inout RouteTable) {
        table.unauthenticated(.post, "/api/auth/login", login)
        table.unauthenticated(.post, "/api/auth/refresh", refresh)
        table.unauthenticated(.post, "/api/auth/logout", logout)
        table.user(.get, "/api/auth/me") { _, context in JSON.response(context.user) }
    }

    private struct Login: Decodable {
        var email: String
        var password: String
    }

    @Sendable private func login(_ request: Request, _ context: AppContext) async throws -> Response {
        let login = try await JSON.decode(Login.self, from: request)
        let account: Account
        do {
            account = try await verify(login, request, context)
        } catch let refusal as Problem {
            (refusal.kind == .tooManyRequests ? metrics.limited : metrics.refused).increment()
            throw refusal
        }
        let user = try account.user
        let refreshToken = RefreshToken()
        let signIn = try await signIns.begin(
            user: user.id, passwordHash: account.passwordHash, refreshHash: refreshToken.hash,
            lifetime: settings.signIn.refreshLifetime)
        guard let signIn else {
            // The password changed, or the account became inactive, after the check.
            metrics.refused.increment()
            throw Self.wrong
        }
        metrics.accepted.increment()
        await renewHash(login.password, account, context)
        return try await tokenResponse(user, signIn, refreshToken)
    }

    private static let wrong = Problem(.unauthorized, "The e-mail address or the password is wrong.")

    /// Replaces a password's hash by one of today's cost, if the stored one is cheaper.
    ///
    /// Only a sign-in has the password at hand. A failure is logged only: the user has signed in.
    private func renewHash(_ password: String, _ account: Account, _ context: AppContext) async {
        guard let hash = account.passwordHash, passwords.isOutdated(hash) else { return }
        do {
            try await users.replaceHash(hash, by: try await passwords.rehash(password), of: account.id)
        } catch {
            context.logger.notice("cannot replace the hash of a password", metadata: ["error": "\(error)"])
        }
    }

    /// Finds the account with this e-mail address and password.
    ///
    /// - Throws: ``Problem`` if no account has both, the account is inactive, or too many attempts failed.
    private func verify(_ login: Login, _ request: Request, _ context: AppContext) async throws -> Account {
        let email = EmailAddress(login.email)
        let charge = try await limits.charge(account: email, request, context)
        let account: Account?
        do {
            account = try await authenticate(email, login.password)
        } catch {
            // This attempt revealed nothing about the password.
            await limits.refund(charge, logger: context.logger)
            throw error
        }
        guard let account else { throw Self.wrong }
        await limits.refund(charge, logger: context.logger)
        guard account.isActive else { throw Problem.inactive }
        return account
    }

    /// Returns the account if the address has one and the password is right.
    private func authenticate(_ email: EmailAddress?, _ password: String) async throws -> Account? {
        guard let email else { return nil }
        let account = try await users.account(email: email)
        // An unknown account costs the same work. The time of the answer therefore does not reveal whether the account
        // exists.
        return try await passwords.verify(password, against: account?.passwordHash) ? account : nil
    }

    private struct Refresh: Decodable {
        var refreshToken: String?

        enum CodingKeys: String, CodingKey { case refreshToken = "refresh_token" }
    }

    @Sendable private func refresh(_ request: Request, _ context: AppContext) async throws -> Response {
        let presented = try await presentedToken(request)
        try await limits.checkRefresh(request, context)
        let next = RefreshToken()
        let outcome = try await signIns.refresh(
            hash: RefreshToken.hash(of: presented), newHash: next.hash, lifetime: settings.signIn.refreshLifetime)
        switch outcome {
        case .renewed(let user, let signIn):
            return try await tokenResponse(user, signIn, next)
        case .inactive:
            throw Problem.inactive
        case .reused:
            try await limits.chargeRefresh(request, context)
            context.logger.warning("a spent refresh token was used again; its sign-in is revoked")
            throw Problem(.unauthorized, "This sign-in has ended. Sign in again.")
        case .refused:
            try await limits.chargeRefresh(request, context)
            throw Problem(.unauthorized, "This sign-in has ended. Sign in again.")
        }
    }

    /// The refresh token of the body, or else of the cookie.
    ///
    /// The client chooses to send a body. Its browser adds the cookie to any request, which therefore has to come from
    /// a page of ours.
    private func presentedToken(_ request: Request) async throws -> String {
        let hasBody = request.hasBody
        if hasBody, let token = try await JSON.decode(Refresh.self, from: request).refreshToken { return token }
        if let cookie = request.cookies[SignInCookies.refreshName]?.value, !cookie.isEmpty {
            guard settings.isFromOwnPage(request) else { throw Problem.originForbidden }
            return cookie
        }
        throw hasBody
            ? Problem.invalid("refresh_token", "is missing.") : Problem(.unauthorized, "Send a refresh token.")
    }

    @Sendable private func logout(_ request: Request, _ context: AppContext) async throws -> Response {
        let bodyToken = request.hasBody ? try await JSON.decode(Refresh.self, from: request).refreshToken : nil
        try await signOut.perform(request, bodyToken: bodyToken, context)
        var response = Response(status: .noContent, headers: [.cacheControl: "no-store"])
        SignInCookies(settings: settings).clear(on: &response)
        return response
    }

    private struct Tokens: Encodable {
        var accessToken: String
        var tokenType = "bearer"
        var expiresIn: Int
        var refreshToken: String
        var user: User

        enum CodingKeys: String, CodingKey {
            case accessToken = "access_token"
            case tokenType = "token_type"
            case expiresIn = "expires_in"
            case refreshToken = "refresh_token"
            case user
        }
    }

    private func tokenResponse(_ user: User, _ signIn: SignInID, _ refresh: RefreshToken) async throws -> Response {
        let expiry = Timestamp.now().advanced(by: settings.signIn.accessLifetime)
        let access = try await tokens.issue(AccessClaims(user: user.id, signIn: signIn, expiresAt: expiry))
        var response = JSON.response(
            Tokens(
                accessToken: access, expiresIn: Int(settings.signIn.accessLifetime.whole(.seconds)),
                refreshToken: refresh.text, user: user))
        SignInCookies(settings: settings).set(access: access, refresh: refresh.text, on: &response)
        return response
    }
}

extension Request {
    /// True if a body follows the head (RFC 9112, 6).
    fileprivate var hasBody: Bool {
        let length = headers[.contentLength].flatMap { Int($0) } ?? 0
        return length > 0 || headers[.transferEncoding] != nil
    }
}
