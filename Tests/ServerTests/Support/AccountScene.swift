import Credentials
import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// A server with one account that has a password, and the requests of a browser or a client.
struct AccountScene: Sendable {
    static let password = "correct horse battery"

    let server: TestServer
    let user: UserID
    let email = "ada@clinic.example"

    var database: TestDatabase { server.database }

    init(_ server: TestServer, role: Role = .therapist) async throws {
        self.server = server
        user = try await server.database.addUser(role, email: email)
        try await server.database.setPassword(Self.password, of: user)
        try await server.database.query(
            "UPDATE app.users SET full_name = 'Ada Ärztin' WHERE id = \(user.rawValue)")
    }

    private init(_ server: TestServer, user: UserID) {
        self.server = server
        self.user = user
    }

    /// The same account at another server of the database.
    func at(_ other: TestServer) -> AccountScene { AccountScene(other, user: user) }

    func signIn(headers: [String: String] = [:]) async throws -> TokenPair {
        let response = try await post(
            "login", #"{"email":"\#(email)","password":"\#(Self.password)"}"#, headers: headers)
        #expect(response.status == 200)
        return try TokenPair(response)
    }

    func post(_ path: String, _ json: String?, headers: [String: String] = [:]) async throws -> TestResponse {
        try await server.request(
            .POST, "/api/auth/\(path)",
            headers: headers.merging(json == nil ? [:] : ["Content-Type": "application/json"]) { first, _ in first },
            body: json.map { Data($0.utf8) })
    }

    func refresh(_ token: String) async throws -> TestResponse {
        try await post("refresh", #"{"refresh_token":"\#(token)"}"#)
    }

    /// An access token of the same sign-in that expired a minute ago.
    func expiredToken(beside tokens: TokenPair) async throws -> String {
        let keys = await AccessTokens(secret: TestServer.jwtSecret)
        var claims = try #require(await keys.verify(tokens.access))
        claims.expiresAt = .now().advanced(by: .seconds(-60))
        return try await keys.issue(claims)
    }

    func me(_ token: String) async throws -> TestResponse {
        try await server.request(.GET, "/api/auth/me", token: token)
    }
}

/// A cookie that a response sets.
struct SetCookie: Sendable {
    let value: String
    /// The attributes in lower case.
    let attributes: Set<String>

    /// The seconds of `Max-Age`.
    var age: Int? {
        attributes.first { $0.hasPrefix("max-age=") }.flatMap { Int($0.dropFirst("max-age=".count)) }
    }
}

/// A pair of tokens, and the cookies of the same response.
struct TokenPair: Sendable {
    let access: String
    let refresh: String
    /// The cookies, by their names.
    let cookies: [String: SetCookie]

    init(_ response: TestResponse) throws {
        let json = try response.json()
        access = try #require(json["access_token"] as? String)
        refresh = try #require(json["refresh_token"] as? String)
        cookies = Self.cookies(of: response)
    }

    static func cookies(of response: TestResponse) -> [String: SetCookie] {
        var cookies: [String: SetCookie] = [:]
        for header in response.headers["Set-Cookie"] {
            let parts = header.split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces) }
            let pair = parts[0].split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            cookies[String(pair[0])] = SetCookie(
                value: String(pair.last ?? ""), attributes: Set(parts.dropFirst().map { $0.lowercased() }))
        }
        return cookies
    }
}

/// Lends a running server with one account that has a password.
func withAccountScene<Result: Sendable>(
    _ environment: [String: String] = [:], role: Role = .therapist,
    _ body: @escaping @Sendable (AccountScene) async throws -> Result
) async throws -> Result {
    try await withServer(environment) { try await body(AccountScene($0, role: role)) }
}

extension TestDatabase {
    /// Sets the password of an account.
    func setPassword(_ password: String, of user: UserID) async throws {
        // A cheap hash: the server verifies a stored hash at the hash's own cost.
        let hash = try await Passwords(cost: .init(logN: 4, blockSize: 1, parallelism: 1)).hash(password)
        try await query("UPDATE app.users SET password_hash = \(hash) WHERE id = \(user.rawValue)")
    }
}
