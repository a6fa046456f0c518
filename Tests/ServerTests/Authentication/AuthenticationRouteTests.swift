import Credentials
import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

private let password = "correct horse battery"

/// A server with one account that has a password, and the requests of a browser or a client.
private struct Entrance: Sendable {
    let server: TestServer
    let user: UserID
    let email = "ada@clinic.example"

    var database: TestDatabase { server.database }

    init(_ server: TestServer, role: Role = .therapist) async throws {
        self.server = server
        user = try await server.database.addUser(role, email: email)
        // A cheap hash: the server verifies a stored hash at the hash's own cost.
        let hash = try await Passwords(cost: .init(logN: 4, blockSize: 1, parallelism: 1)).hash(password)
        try await server.database.query(
            "UPDATE app.users SET password_hash = \(hash), full_name = 'Ada Ärztin' WHERE id = \(user.rawValue)")
    }

    func signIn(headers: [String: String] = [:]) async throws -> Tokens {
        let response = try await post("login", #"{"email":"\#(email)","password":"\#(password)"}"#, headers: headers)
        #expect(response.status == 200)
        return try Tokens(response)
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
    func expiredToken(beside tokens: Tokens) async throws -> String {
        let keys = await AccessTokens(secret: TestServer.jwtSecret)
        var claims = try #require(await keys.verify(tokens.access))
        claims.expiresAt = .now().advanced(by: .seconds(-60))
        return try await keys.issue(claims)
    }

    func me(_ token: String) async throws -> TestResponse {
        try await server.request(.GET, "/api/auth/me", token: token)
    }
}

/// A pair of tokens, and the cookies of the same answer.
private struct Tokens {
    let access: String
    let refresh: String
    /// Each cookie's value, and its attributes in lower case.
    let cookies: [String: (value: String, attributes: Set<String>)]

    init(_ response: TestResponse) throws {
        let json = try response.json()
        access = try #require(json["access_token"] as? String)
        refresh = try #require(json["refresh_token"] as? String)
        cookies = Self.cookies(of: response)
    }

    static func cookies(of response: TestResponse) -> [String: (value: String, attributes: Set<String>)] {
        var cookies: [String: (value: String, attributes: Set<String>)] = [:]
        for header in response.headers["Set-Cookie"] {
            let parts = header.split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces) }
            let pair = parts[0].split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            cookies[String(pair[0])] = (String(pair.last ?? ""), Set(parts.dropFirst().map { $0.lowercased() }))
        }
        return cookies
    }
}

private func withEntrance<Result: Sendable>(
    _ environment: [String: String] = [:], role: Role = .therapist,
    _ body: @escaping @Sendable (Entrance) async throws -> Result
) async throws -> Result {
    try await withServer(environment) { try await body(Entrance($0, role: role)) }
}

@Suite("Signing in", .deadline)
struct SignInTests {
    @Test("A login returns a pair of tokens and the user")
    func login() async throws {
        try await withEntrance(["JWT_ACCESS_TTL": "900"]) { entrance in
            let response = try await entrance.post(
                "login", #"{"email":"  ADA@Clinic.Example ","password":"\#(password)"}"#)
            #expect(response.status == 200)
            #expect(response.headers["Cache-Control"] == ["no-store"])
            let json = try response.json()
            #expect(Set(json.keys) == ["access_token", "token_type", "expires_in", "refresh_token", "user"])
            #expect(json["token_type"] as? String == "bearer")
            #expect(json["expires_in"] as? Int == 900)
            let user = try #require(json["user"] as? [String: any Sendable])
            #expect(
                user as NSDictionary == [
                    "id": entrance.user.description, "email": entrance.email, "full_name": "Ada Ärztin",
                    "role": "therapist",
                ])
            let me = try await entrance.me(try #require(json["access_token"] as? String))
            #expect(me.status == 200)
            #expect(try me.json() as NSDictionary == user as NSDictionary)
        }
    }

    @Test("A wrong password and an unknown account get the same 401")
    func wrong() async throws {
        try await withEntrance { entrance in
            _ = try await entrance.database.addUser(.patient, email: "no-password@clinic.example")
            var details: Set<String> = []
            for (email, password) in [
                (entrance.email, "wrong"), (entrance.email, ""), (entrance.email, password + " "),
                (entrance.email, String(repeating: "x", count: 10_000)), ("nobody@clinic.example", password),
                ("no-password@clinic.example", password), ("no address", password), ("", ""),
                ("' OR true --", password),
            ] {
                let body = try JSONEncoder().encode(["email": email, "password": password])
                let response = try await entrance.post("login", String(decoding: body, as: UTF8.self))
                expectProblem(response, 401, "unauthorized", "\(email)")
                #expect(response.headers["Set-Cookie"].isEmpty)
                details.insert(try response.json()["detail"] as? String ?? "")
            }
            #expect(details.count == 1)
        }
    }

    @Test("An inactive account gets 403 after the right password, and 401 after a wrong one")
    func inactive() async throws {
        try await withEntrance { entrance in
            try await entrance.database.query("UPDATE app.users SET is_active = false")
            let right = try await entrance.post("login", #"{"email":"\#(entrance.email)","password":"\#(password)"}"#)
            expectProblem(right, 403, "account-inactive")
            let wrong = try await entrance.post("login", #"{"email":"\#(entrance.email)","password":"wrong"}"#)
            expectProblem(wrong, 401, "unauthorized")
        }
    }

    @Test("A login with a missing field or a field of another type gets 422 with the field's name")
    func fields() async throws {
        try await withEntrance { entrance in
            for (body, name) in [
                (#"{"password":"x"}"#, "email"), (#"{"email":"a@b"}"#, "password"),
                (#"{"email":1,"password":"x"}"#, "email"), (#"{"email":"a@b","password":null}"#, "password"),
                (#"{"email":"a@b","password":["x"]}"#, "password"), ("{}", "email"),
            ] {
                expectProblem(try await entrance.post("login", body), 422, "invalid-value", detail: "\(name): ")
            }
        }
    }

    @Test(
        "A login sets cookies that scripts cannot read and other sites cannot send",
        arguments: [
            ("http://127.0.0.1:8000", false), ("http://localhost:8000", false), ("https://127.0.0.1", true),
            ("https://bridge.example.org", true), ("http://bridge.example.org", true),
        ])
    func cookies(_ publicURL: String, _ isSecure: Bool) async throws {
        let environment = ["PUBLIC_URL": publicURL, "JWT_ACCESS_TTL": "900", "JWT_REFRESH_TTL": "5000"]
        try await withEntrance(environment) { entrance in
            let tokens = try await entrance.signIn()
            #expect(tokens.cookies.count == 2)
            let secure: Set<String> = isSecure ? ["secure"] : []
            let access = try #require(tokens.cookies["tb_access"])
            #expect(access.value == tokens.access)
            #expect(access.attributes == secure.union(["httponly", "samesite=strict", "path=/", "max-age=900"]))
            let refresh = try #require(tokens.cookies["tb_refresh"])
            #expect(refresh.value == tokens.refresh)
            #expect(
                refresh.attributes == secure.union(["httponly", "samesite=strict", "path=/api/auth", "max-age=5000"]))
        }
    }

    @Test("A login ignores the cookies that the client already has")
    func oldCookie() async throws {
        try await withEntrance { entrance in
            let first = try await entrance.signIn()
            let second = try await entrance.signIn(headers: [
                "Cookie": "tb_access=\(first.access); tb_refresh=\(first.refresh)"
            ])
            #expect(second.refresh != first.refresh)
        }
    }
}

@Suite("A request with a cookie", .deadline)
struct CookieTests {
    @Test("A cookie authenticates a request, and an unsafe method needs an allowed origin")
    func origin() async throws {
        let environment = ["PUBLIC_URL": "https://bridge.example.org", "SSE_CORS_ORIGIN": "https://app.example.org"]
        try await withEntrance(environment) { entrance in
            let tokens = try await entrance.signIn()
            let cookie = ["Cookie": "theme=dark; tb_access=\(tokens.access)"]
            #expect(try await entrance.server.request(.GET, "/api/auth/me", headers: cookie).status == 200)

            for origin in [
                nil, "null", "", "https://evil.example.org", "http://bridge.example.org",
                "https://bridge.example.org:8443",
                "https://bridge.example.org.evil.example", "https://BRIDGE.example.org/", "*",
            ] {
                var headers = cookie
                headers["Origin"] = origin
                let response = try await entrance.post("logout", nil, headers: headers)
                expectProblem(response, 403, "origin-forbidden", "\(origin ?? "none")")
            }
            #expect(try await entrance.me(tokens.access).status == 200)

            // A page cannot make a browser send this header. The server then needs no origin, and ignores the cookie.
            let both = cookie.merging(["Authorization": "Bearer x"]) { first, _ in first }
            let ticket = try await entrance.server.request(.POST, "/api/sessions/status/ticket", headers: both)
            expectProblem(ticket, 401, "unauthorized")
            #expect(try await entrance.post("logout", nil, headers: both).status == 204)
            #expect(try await entrance.me(tokens.access).status == 200)

            for origin in ["https://bridge.example.org", "https://app.example.org"] {
                let tokens = try await entrance.signIn()
                let response = try await entrance.post(
                    "logout", nil, headers: ["Cookie": "tb_access=\(tokens.access)", "Origin": origin])
                #expect(response.status == 204, "\(origin)")
            }
        }
    }

    @Test("A page under another loopback name counts as the server's own, without CORS headers")
    func loopbackNames() async throws {
        try await withEntrance(["PUBLIC_URL": "http://127.0.0.1:8000"]) { entrance in
            for name in ["localhost:8000", "127.0.0.1:8000", "[::1]:8000"] {
                let tokens = try await entrance.signIn()
                var headers = [
                    "Cookie": "tb_access=\(tokens.access); tb_refresh=\(tokens.refresh)", "Host": name,
                    "Origin": "http://\(name)",
                ]
                let ticket = try await entrance.server.request(.POST, "/api/sessions/status/ticket", headers: headers)
                #expect(ticket.status == 200, "\(name)")
                if name != "127.0.0.1:8000" {
                    #expect(ticket.headers["Access-Control-Allow-Origin"].isEmpty, "\(name)")
                }
                let refresh = try await entrance.post("refresh", nil, headers: headers)
                #expect(refresh.status == 200, "\(name)")
                headers["Cookie"] = "tb_access=\(try Tokens(refresh).access)"
                #expect(try await entrance.post("logout", nil, headers: headers).status == 204, "\(name)")
            }

            let tokens = try await entrance.signIn()
            for (host, origin) in [
                // The page of another program on this machine.
                ("localhost:8000", "http://127.0.0.1:8001"), ("127.0.0.1:8000", "http://localhost:8000"),
                ("localhost:8001", "http://localhost:8001"), ("localhost", "http://localhost"),
                // Another scheme, or another name that resolves to a loopback address.
                ("localhost:8000", "https://localhost:8000"), ("evil.example:8000", "http://evil.example:8000"),
                ("localhost.evil.example:8000", "http://localhost.evil.example:8000"),
            ] {
                let response = try await entrance.server.request(
                    .POST, "/api/sessions/status/ticket",
                    headers: ["Cookie": "tb_access=\(tokens.access)", "Host": host, "Origin": origin])
                expectProblem(response, 403, "origin-forbidden", "\(origin) to \(host)")
            }
        }
        // A public server has exactly one origin.
        try await withEntrance(["PUBLIC_URL": "https://bridge.example.org"]) { entrance in
            let tokens = try await entrance.signIn()
            let response = try await entrance.server.request(
                .POST, "/api/sessions/status/ticket",
                headers: [
                    "Cookie": "tb_access=\(tokens.access)", "Host": "localhost:8000", "Origin": "http://localhost:8000",
                ])
            expectProblem(response, 403, "origin-forbidden")
        }
    }

    @Test("A refresh by cookie needs an allowed origin")
    func refresh() async throws {
        try await withEntrance(["PUBLIC_URL": "https://bridge.example.org"]) { entrance in
            let tokens = try await entrance.signIn()
            let cookie = "tb_access=expired; tb_refresh=\(tokens.refresh)"
            for origin in [nil, "https://evil.example.org"] {
                var headers = ["Cookie": cookie]
                headers["Origin"] = origin
                expectProblem(try await entrance.post("refresh", nil, headers: headers), 403, "origin-forbidden")
            }
            let response = try await entrance.post(
                "refresh", nil, headers: ["Cookie": cookie, "Origin": "https://bridge.example.org"])
            #expect(response.status == 200)
            let next = try Tokens(response)
            #expect(next.cookies["tb_refresh"]?.value == next.refresh)
            #expect(try await entrance.me(next.access).status == 200)
        }
    }

    @Test("A refresh token in the body wins over the cookie")
    func bodyFirst() async throws {
        try await withEntrance { entrance in
            let tokens = try await entrance.signIn()
            let response = try await entrance.post(
                "refresh", #"{"refresh_token":"\#(tokens.refresh)"}"#,
                headers: ["Cookie": "tb_access=\(tokens.access); tb_refresh=old"])
            #expect(response.status == 200)
        }
    }
}

@Suite("A refresh token", .deadline)
struct RefreshTests {
    @Test("A refresh returns a new pair of tokens of the same sign-in")
    func renews() async throws {
        try await withEntrance { entrance in
            let first = try await entrance.signIn()
            let second = try Tokens(try await entrance.refresh(first.refresh))
            #expect(second.refresh != first.refresh)
            #expect(try await entrance.me(second.access).status == 200)
            // The earlier access token stays valid until it expires: it belongs to the same sign-in.
            #expect(try await entrance.me(first.access).status == 200)
            let third = try Tokens(try await entrance.refresh(second.refresh))
            #expect(try await entrance.me(third.access).status == 200)
        }
    }

    @Test("A refresh token that is used twice ends its sign-in, and no other")
    func reuse() async throws {
        try await withEntrance { entrance in
            let other = try await entrance.signIn()
            let first = try await entrance.signIn()
            let second = try Tokens(try await entrance.refresh(first.refresh))
            expectProblem(try await entrance.refresh(first.refresh), 401, "unauthorized")
            expectProblem(try await entrance.refresh(second.refresh), 401, "unauthorized")
            expectProblem(try await entrance.me(second.access), 401, "unauthorized")
            #expect(try await entrance.me(other.access).status == 200)
            #expect(try await entrance.refresh(other.refresh).status == 200)
        }
    }

    @Test("Parallel uses of one refresh token return one pair, and the sign-in ends")
    func atOnce() async throws {
        try await withEntrance { entrance in
            let tokens = try await entrance.signIn()
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<4 { group.addTask { try await entrance.refresh(tokens.refresh).status } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses.sorted() == [200, 401, 401, 401])
            expectProblem(try await entrance.me(tokens.access), 401, "unauthorized")
        }
    }

    @Test("An unknown or expired refresh token gets 401, and an inactive account gets 403")
    func refused() async throws {
        try await withEntrance { entrance in
            let tokens = try await entrance.signIn()
            expectProblem(try await entrance.post("refresh", nil), 401, "unauthorized")
            expectProblem(try await entrance.post("refresh", "{}"), 422, "invalid-value", detail: "refresh_token: ")
            for unknown in ["", "x", tokens.access, tokens.refresh + "x"] {
                expectProblem(try await entrance.refresh(unknown), 401, "unauthorized")
            }
            try await entrance.database.query("UPDATE app.users SET is_active = false")
            expectProblem(try await entrance.refresh(tokens.refresh), 403, "account-inactive")
            try await entrance.database.query("UPDATE app.users SET is_active = true")
            try await entrance.database.query("UPDATE app.refresh_tokens SET expires_at = now()")
            expectProblem(try await entrance.refresh(tokens.refresh), 401, "unauthorized")
        }
    }
}

@Suite("Signing out", .deadline)
struct SignOutTests {
    @Test("A sign-out revokes every token of the sign-in, clears the cookies, and leaves other sign-ins alone")
    func logout() async throws {
        try await withEntrance { entrance in
            let other = try await entrance.signIn()
            let first = try await entrance.signIn()
            let second = try Tokens(try await entrance.refresh(first.refresh))
            let response = try await entrance.post("logout", nil, headers: ["Authorization": "Bearer \(second.access)"])
            #expect(response.status == 204)
            #expect(response.body.isEmpty)
            let cookies = Tokens.cookies(of: response)
            for (name, path) in [("tb_access", "path=/"), ("tb_refresh", "path=/api/auth")] {
                let cookie = try #require(cookies[name])
                #expect(cookie.value.isEmpty)
                #expect(cookie.attributes == ["httponly", "samesite=strict", "max-age=0", path])
            }
            for token in [first.access, second.access] {
                expectProblem(try await entrance.me(token), 401, "unauthorized")
            }
            expectProblem(try await entrance.refresh(second.refresh), 401, "unauthorized")
            #expect(try await entrance.me(other.access).status == 200)
        }
    }

    @Test("An expired access token still signs out, by header and by cookie", arguments: [false, true])
    func expired(_ isByCookie: Bool) async throws {
        try await withEntrance(["PUBLIC_URL": "http://127.0.0.1:8000"]) { entrance in
            let tokens = try await entrance.signIn()
            let expired = try await entrance.expiredToken(beside: tokens)
            expectProblem(try await entrance.me(expired), 401, "unauthorized")
            let headers =
                isByCookie
                ? ["Cookie": "tb_access=\(expired)", "Origin": "http://127.0.0.1:8000"]
                : ["Authorization": "Bearer \(expired)"]
            #expect(try await entrance.post("logout", nil, headers: headers).status == 204)
            expectProblem(try await entrance.me(tokens.access), 401, "unauthorized")
            expectProblem(try await entrance.refresh(tokens.refresh), 401, "unauthorized")
        }
    }

    @Test(
        "A refresh token signs out, by cookie and in the body, spent or not", arguments: [false, true])
    func byRefreshToken(_ isByCookie: Bool) async throws {
        try await withEntrance(["PUBLIC_URL": "http://127.0.0.1:8000"]) { entrance in
            for isSpent in [false, true] {
                let first = try await entrance.signIn()
                let present = isSpent ? try Tokens(try await entrance.refresh(first.refresh)) : first
                let response =
                    isByCookie
                    ? try await entrance.post(
                        "logout", nil,
                        headers: ["Cookie": "tb_refresh=\(first.refresh)", "Origin": "http://127.0.0.1:8000"])
                    : try await entrance.post("logout", #"{"refresh_token":"\#(first.refresh)"}"#)
                #expect(response.status == 204)
                #expect(Tokens.cookies(of: response).keys.sorted() == ["tb_access", "tb_refresh"])
                expectProblem(try await entrance.me(present.access), 401, "unauthorized")
                expectProblem(try await entrance.refresh(present.refresh), 401, "unauthorized")
            }
        }
    }

    @Test("A sign-out with an expired access token ends the streams of the sign-in")
    func expiredStream() async throws {
        try await withEntrance(role: .patient) { entrance in
            let session = try await entrance.database.addSession(of: entrance.user)
            let tokens = try await entrance.signIn()
            let expired = try await entrance.expiredToken(beside: tokens)
            let stream = "/api/sessions/\(session)/status/stream"
            try await entrance.server.withStream(stream, token: tokens.access) { reader in
                _ = try await reader.next("progress")
                let response = try await entrance.post("logout", nil, headers: ["Authorization": "Bearer \(expired)"])
                #expect(response.status == 204)
                #expect(try await reader.rest().map(\.event) == ["revoked"])
            }
        }
    }

    @Test("A sign-out without a valid token gets 204 and ends no sign-in")
    func nobody() async throws {
        try await withEntrance { entrance in
            let tokens = try await entrance.signIn()
            for headers in [[:], ["Authorization": "Bearer x.y.z"], ["Authorization": "Bearer \(tokens.access)x"]] {
                #expect(try await entrance.post("logout", nil, headers: headers).status == 204)
            }
            for body in ["{}", #"{"refresh_token":"unknown"}"#, #"{"refresh_token":""}"#] {
                #expect(try await entrance.post("logout", body).status == 204, "\(body)")
            }
            #expect(try await entrance.me(tokens.access).status == 200)
        }
    }

    @Test("A sign-out by either cookie needs an allowed origin")
    func foreignPage() async throws {
        try await withEntrance(["PUBLIC_URL": "https://bridge.example.org"]) { entrance in
            let tokens = try await entrance.signIn()
            for cookie in ["tb_access=\(tokens.access)", "tb_refresh=\(tokens.refresh)", "tb_access=x"] {
                for origin in [nil, "https://evil.example.org"] {
                    var headers = ["Cookie": cookie]
                    headers["Origin"] = origin
                    let response = try await entrance.post("logout", nil, headers: headers)
                    expectProblem(response, 403, "origin-forbidden", "\(cookie)")
                    #expect(response.headers["Set-Cookie"].isEmpty)
                }
            }
            #expect(try await entrance.me(tokens.access).status == 200)
        }
    }

    @Test("Every role can sign in and out", arguments: Role.allCases)
    func everyRole(_ role: Role) async throws {
        try await withEntrance(role: role) { entrance in
            let tokens = try await entrance.signIn()
            #expect(try await entrance.me(tokens.access).json()["role"] as? String == role.rawValue)
            let response = try await entrance.post("logout", nil, headers: ["Authorization": "bearer \(tokens.access)"])
            #expect(response.status == 204)
        }
    }
}
