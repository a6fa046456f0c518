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
    let passwordCheck: PasswordCheck
    let signIns: SignInStore
    let tokens: AccessTokens
    let settings: HTTPSettings
    let limits: AttemptLimits
    let signOut: SignOut
    let metrics: SignInMetrics

    func add(to table: inout RouteTable) {
        table.unauthenticated(.post, "/api/auth/login", login)
        table.unauthenticated(.post, "/api/auth/refresh", refresh)
        table.unauthenticated(.post, "/api/auth/logout", produces: nil, logout)
        table.user(.post, "/api/auth/password", produces: nil, changePassword)
        table.user(.get, "/api/auth/me") { _, context in JSON.response(context.user) }
    }

    private struct Login: Decodable {
        var email: String
        var password: String
    }

    @Sendable private func login(_ request: Request, _ context: AppContext) async throws -> Response {
        try settings.refuseForeignOrigin(of: request)
        let login = try await JSON.decode(Login.self, from: request)
        let account: Account
        var presented: String
        do {
            (account, presented) = try await verify(login, request, context)
        } catch let refusal as Problem {
            (refusal.kind == .tooManyRequests ? metrics.limited : metrics.refused).increment()
            throw refusal
        }
        let user = try account.user
        presented = await passwordCheck.renewed(login.password, account, presented: presented, logger: context.logger)
        let refreshToken = RefreshToken()
        let period = try await signIns.begin(
            user: user.id, presented: presented, refreshHash: refreshToken.hash, terms: settings.signIn.terms,
            client: settings.client(of: request, over: context.connection))
        guard let period else {
            // The password changed, or the account became inactive, after the check.
            metrics.refused.increment()
            throw Self.wrong
        }
        metrics.accepted.increment()
        return try await tokenResponse(user, period, refreshToken)
    }

    private static let wrong = Problem(.unauthorized, "The e-mail address or the password is wrong.")

    /// Finds the account with this e-mail address and password.
    ///
    /// - Returns: The account, and the hash that proves the password to the database.
    /// - Throws: ``Problem`` if no account has both, the account is inactive, too many attempts failed, or there were too many
    ///   sign-ins.
    private func verify(
        _ login: Login, _ request: Request, _ context: AppContext
    ) async throws -> (Account, presented: String) {
        let address = settings.clientAddress(of: request, over: context.connection)
        let email = EmailAddress(login.email)
        let charge = try await limits.charge(account: email, from: address)
        let result: PasswordCheck.Result
        do {
            guard let email else { throw Self.wrong }
            result = try await passwordCheck.check(login.password, of: email)
        } catch let problem as Problem {
            throw problem
        } catch {
            // This attempt revealed nothing about the password.
            await limits.refund(charge, logger: context.logger)
            throw error
        }
        guard let email, let account = result.account, result.verdict != .wrong else { throw Self.wrong }
        await limits.refund(charge, logger: context.logger)
        guard result.verdict == .right else { throw Problem.inactive }
        try await limits.chargeSignIn(account: email, from: address)
        return (account, result.presented)
    }

    private struct PasswordChange: Decodable {
        var currentPassword: String
        var newPassword: String

        enum CodingKeys: String, CodingKey {
            case currentPassword = "current_password"
            case newPassword = "new_password"
        }
    }

    /// Changes the caller's own password.
    ///
    /// All other sign-ins of the account end.
    @Sendable private func changePassword(_ request: Request, _ context: UserContext) async throws -> Response {
        let body = try await JSON.decode(PasswordChange.self, from: request)
        guard let email = EmailAddress(context.user.email) else { throw Problem.noUser }
        let charge = try await limits.charge(
            account: email, from: settings.clientAddress(of: request, over: context.connection))
        let outcome: UserStore.PasswordChange
        do {
            let check = passwordCheck
            let current = try await check.check(body.currentPassword, of: email)
            guard current.verdict == .right else { throw Self.wrongCurrentPassword }
            let hash: String
            do {
                hash = try await check.passwords.hash(body.newPassword, for: email)
            } catch Passwords.Failure.unacceptable(let rule) {
                await limits.refund(charge, logger: context.logger)
                throw Problem.invalid("new_password", rule)
            }
            outcome = try await check.users.changePassword(current.presented, to: hash, of: context.claims.principal)
        } catch let problem as Problem {
            throw problem
        } catch {
            await limits.refund(charge, logger: context.logger)
            throw error
        }
        switch outcome {
        case .wrong: throw Self.wrongCurrentPassword
        case .signedOut: throw Problem.unauthorized
        case .changed: break
        }
        await limits.refund(charge, logger: context.logger)
        return Response(status: .noContent, headers: [.cacheControl: "no-store"])
    }

    private static let wrongCurrentPassword = Problem(.forbidden, "current_password: is wrong.")

    private struct Refresh: Decodable {
        var refreshToken: String?

        enum CodingKeys: String, CodingKey { case refreshToken = "refresh_token" }
    }

    @Sendable private func refresh(_ request: Request, _ context: AppContext) async throws -> Response {
        try settings.refuseForeignOrigin(of: request)
        let presented = try await presentedToken(request)
        let address = settings.clientAddress(of: request, over: context.connection)
        try await limits.checkRefresh(from: address)
        let next = RefreshToken()
        let outcome = try await signIns.refresh(
            hash: RefreshToken.hash(of: presented), newHash: next.hash, terms: settings.signIn.terms,
            client: settings.client(of: request, over: context.connection))
        switch outcome {
        case .renewed(let user, let period):
            return try await tokenResponse(user, period, next)
        case .inactive:
            throw Problem.inactive
        case .reused:
            try await limits.chargeRefresh(from: address)
            context.logger.warning("a spent refresh token was used again; its sign-in is revoked")
            throw Problem(.unauthorized, "This sign-in has ended. Sign in again.")
        case .refused:
            try await limits.chargeRefresh(from: address)
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
            ? Problem.invalid("refresh_token", "is missing.", .missing)
            : Problem(.unauthorized, "Send a refresh token.")
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

    private func tokenResponse(
        _ user: User, _ period: SignInStore.Period, _ refresh: RefreshToken
    ) async throws -> Response {
        let now = Timestamp.now()
        // The access token is worthless after the end of the sign-in.
        let lifetime = min(settings.signIn.accessLifetime, period.endsAt.duration(since: now))
        let access = try await tokens.issue(
            AccessClaims(user: user.id, signIn: period.signIn, expiresAt: now.advanced(by: lifetime)))
        var response = JSON.response(
            Tokens(
                accessToken: access, expiresIn: Int(max(lifetime, .zero).whole(.seconds)), refreshToken: refresh.text,
                user: user))
        SignInCookies(settings: settings).set(
            access: access, for: max(lifetime, .zero), refresh: refresh.text,
            for: max(period.endsAt.duration(since: now), .zero), on: &response)
        return response
    }
}

extension HTTPSettings {
    /// What the user of a sign-in can recognize the client of a request by.
    func client(of request: Request, over connection: ClientConnection) -> SignInStore.Client {
        SignInStore.Client(
            userAgent: request.headers[.userAgent],
            address: clientAddress(of: request, over: connection)?.description)
    }
}
