import Credentials
import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct SignOutTests {
    @Test("A sign-out revokes every token of the sign-in, clears the cookies, and leaves other sign-ins alone")
    func logout() async throws {
        try await withAccountScene { scene in
            let other = try await scene.signIn()
            let first = try await scene.signIn()
            let second = try TokenPair(try await scene.refresh(first.refresh))
            let response = try await scene.post("logout", nil, headers: ["Authorization": "Bearer \(second.access)"])
            #expect(response.status == 204)
            #expect(response.body.isEmpty)
            let cookies = TokenPair.cookies(of: response)
            for (name, path) in [("tb_access", "path=/"), ("tb_refresh", "path=/api/auth")] {
                let cookie = try #require(cookies[name])
                #expect(cookie.value.isEmpty)
                #expect(cookie.attributes == ["httponly", "samesite=strict", "max-age=0", path])
            }
            for token in [first.access, second.access] {
                expectProblem(try await scene.me(token), 401, "unauthorized")
            }
            expectProblem(try await scene.refresh(second.refresh), 401, "unauthorized")
            #expect(try await scene.me(other.access).status == 200)
        }
    }

    @Test("An expired access token still signs out, by header and by cookie", arguments: [false, true])
    func expired(_ isByCookie: Bool) async throws {
        try await withAccountScene(["PUBLIC_URL": "http://127.0.0.1:8000"]) { scene in
            let tokens = try await scene.signIn()
            let expired = try await scene.expiredToken(beside: tokens)
            expectProblem(try await scene.me(expired), 401, "unauthorized")
            let headers =
                isByCookie
                ? ["Cookie": "tb_access=\(expired)", "Origin": "http://127.0.0.1:8000"]
                : ["Authorization": "Bearer \(expired)"]
            #expect(try await scene.post("logout", nil, headers: headers).status == 204)
            expectProblem(try await scene.me(tokens.access), 401, "unauthorized")
            expectProblem(try await scene.refresh(tokens.refresh), 401, "unauthorized")
        }
    }

    @Test(
        "A refresh token signs out, by cookie and in the body, spent or not", arguments: [false, true])
    func byRefreshToken(_ isByCookie: Bool) async throws {
        try await withAccountScene(["PUBLIC_URL": "http://127.0.0.1:8000"]) { scene in
            for isSpent in [false, true] {
                let first = try await scene.signIn()
                let present = isSpent ? try TokenPair(try await scene.refresh(first.refresh)) : first
                let response =
                    isByCookie
                    ? try await scene.post(
                        "logout", nil,
                        headers: ["Cookie": "tb_refresh=\(first.refresh)", "Origin": "http://127.0.0.1:8000"])
                    : try await scene.post("logout", #"{"refresh_token":"\#(first.refresh)"}"#)
                #expect(response.status == 204)
                #expect(TokenPair.cookies(of: response).keys.sorted() == ["tb_access", "tb_refresh"])
                expectProblem(try await scene.me(present.access), 401, "unauthorized")
                expectProblem(try await scene.refresh(present.refresh), 401, "unauthorized")
            }
        }
    }

    @Test("A sign-out with an expired access token ends the streams of the sign-in")
    func expiredStream() async throws {
        try await withAccountScene(role: .patient) { scene in
            let session = try await scene.database.addSession(of: scene.user)
            let tokens = try await scene.signIn()
            let expired = try await scene.expiredToken(beside: tokens)
            let stream = "/api/sessions/\(session)/status/stream"
            try await scene.server.withStream(stream, token: tokens.access) { reader in
                _ = try await reader.next("progress")
                let response = try await scene.post("logout", nil, headers: ["Authorization": "Bearer \(expired)"])
                #expect(response.status == 204)
                #expect(try await reader.rest().map(\.event) == ["revoked"])
            }
        }
    }

    @Test("A sign-out from the server's own page ends the sign-ins of its cookies, whatever the Authorization header")
    func besideHeader() async throws {
        try await withAccountScene(["PUBLIC_URL": "http://127.0.0.1:8000"]) { scene in
            for header in ["Bearer x.y.z", "Basic eA==", nil] {
                let (first, second) = (try await scene.signIn(), try await scene.signIn())
                var headers = [
                    "Cookie": "tb_access=\(first.access); tb_refresh=\(second.refresh)",
                    "Origin": "http://127.0.0.1:8000",
                ]
                headers["Authorization"] = header
                #expect(try await scene.post("logout", nil, headers: headers).status == 204)
                for tokens in [first, second] {
                    expectProblem(try await scene.me(tokens.access), 401, "unauthorized")
                    expectProblem(try await scene.refresh(tokens.refresh), 401, "unauthorized")
                }
            }
        }
    }

    @Test("A sign-out without a valid token gets 204 and ends no sign-in")
    func nobody() async throws {
        try await withAccountScene { scene in
            let tokens = try await scene.signIn()
            for headers in [[:], ["Authorization": "Bearer x.y.z"], ["Authorization": "Bearer \(tokens.access)x"]] {
                #expect(try await scene.post("logout", nil, headers: headers).status == 204)
            }
            for body in ["{}", #"{"refresh_token":"unknown"}"#, #"{"refresh_token":""}"#] {
                #expect(try await scene.post("logout", body).status == 204, "\(body)")
            }
            #expect(try await scene.me(tokens.access).status == 200)
        }
    }

    @Test("A sign-out by either cookie needs an allowed origin")
    func foreignPage() async throws {
        try await withAccountScene(["PUBLIC_URL": "https://bridge.example.org"]) { scene in
            let tokens = try await scene.signIn()
            for cookie in ["tb_access=\(tokens.access)", "tb_refresh=\(tokens.refresh)", "tb_access=x"] {
                for origin in [nil, "https://evil.example.org"] {
                    var headers = ["Cookie": cookie]
                    headers["Origin"] = origin
                    let response = try await scene.post("logout", nil, headers: headers)
                    expectProblem(response, 403, "origin-forbidden", "\(cookie)")
                    #expect(response.headers["Set-Cookie"].isEmpty)
                }
            }
            #expect(try await scene.me(tokens.access).status == 200)
        }
    }

    @Test("Every role can sign in and out", arguments: Role.allCases)
    func everyRole(_ role: Role) async throws {
        try await withAccountScene(role: role) { scene in
            let tokens = try await scene.signIn()
            #expect(try await scene.me(tokens.access).json()["role"] as? String == role.rawValue)
            let response = try await scene.post("logout", nil, headers: ["Authorization": "bearer \(tokens.access)"])
            #expect(response.status == 204)
        }
    }
}
