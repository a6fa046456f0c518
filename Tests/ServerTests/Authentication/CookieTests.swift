import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct CookieTests {
    @Test("A cookie authenticates a request, and an unsafe method needs an allowed origin")
    func origin() async throws {
        let environment = ["PUBLIC_URL": "https://bridge.example.org", "SSE_CORS_ORIGIN": "https://app.example.org"]
        try await withAccountScene(environment) { scene in
            let tokens = try await scene.signIn()
            let cookie = ["Cookie": "theme=dark; tb_access=\(tokens.access)"]
            #expect(try await scene.server.request(.GET, "/api/auth/me", headers: cookie).status == 200)

            for origin in [
                nil, "null", "", "https://evil.example.org", "http://bridge.example.org",
                "https://bridge.example.org:8443",
                "https://bridge.example.org.evil.example", "https://BRIDGE.example.org/", "*",
            ] {
                var headers = cookie
                headers["Origin"] = origin
                let response = try await scene.post("logout", nil, headers: headers)
                expectProblem(response, 403, "origin-forbidden", "\(origin ?? "none")")
            }
            #expect(try await scene.me(tokens.access).status == 200)

            // A page cannot make a browser send this header. The server then needs no origin, and ignores the cookie.
            let both = cookie.merging(["Authorization": "Bearer x"]) { first, _ in first }
            let ticket = try await scene.server.request(.POST, "/api/sessions/status/ticket", headers: both)
            expectProblem(ticket, 401, "unauthorized")
            #expect(try await scene.post("logout", nil, headers: both).status == 204)
            #expect(try await scene.me(tokens.access).status == 200)

            for origin in ["https://bridge.example.org", "https://app.example.org"] {
                let tokens = try await scene.signIn()
                let response = try await scene.post(
                    "logout", nil, headers: ["Cookie": "tb_access=\(tokens.access)", "Origin": origin])
                #expect(response.status == 204, "\(origin)")
            }
        }
    }

    @Test("A page under another loopback name counts as the server's own, without CORS headers")
    func loopbackNames() async throws {
        try await withAccountScene(["PUBLIC_URL": "http://127.0.0.1:8000"]) { scene in
            for name in ["localhost:8000", "127.0.0.1:8000", "[::1]:8000"] {
                let tokens = try await scene.signIn()
                var headers = [
                    "Cookie": "tb_access=\(tokens.access); tb_refresh=\(tokens.refresh)", "Host": name,
                    "Origin": "http://\(name)",
                ]
                let ticket = try await scene.server.request(.POST, "/api/sessions/status/ticket", headers: headers)
                #expect(ticket.status == 200, "\(name)")
                if name != "127.0.0.1:8000" {
                    #expect(ticket.headers["Access-Control-Allow-Origin"].isEmpty, "\(name)")
                }
                let refresh = try await scene.post("refresh", nil, headers: headers)
                #expect(refresh.status == 200, "\(name)")
                headers["Cookie"] = "tb_access=\(try TokenPair(refresh).access)"
                #expect(try await scene.post("logout", nil, headers: headers).status == 204, "\(name)")
            }

            let tokens = try await scene.signIn()
            for (host, origin) in [
                // The page of another program on this machine.
                ("localhost:8000", "http://127.0.0.1:8001"), ("127.0.0.1:8000", "http://localhost:8000"),
                ("localhost:8001", "http://localhost:8001"), ("localhost", "http://localhost"),
                // Another scheme, or another name that resolves to a loopback address.
                ("localhost:8000", "https://localhost:8000"), ("evil.example:8000", "http://evil.example:8000"),
                ("localhost.evil.example:8000", "http://localhost.evil.example:8000"),
            ] {
                let response = try await scene.server.request(
                    .POST, "/api/sessions/status/ticket",
                    headers: ["Cookie": "tb_access=\(tokens.access)", "Host": host, "Origin": origin])
                expectProblem(response, 403, "origin-forbidden", "\(origin) to \(host)")
            }
        }
        // A public server has exactly one origin.
        try await withAccountScene(["PUBLIC_URL": "https://bridge.example.org"]) { scene in
            let tokens = try await scene.signIn()
            let response = try await scene.server.request(
                .POST, "/api/sessions/status/ticket",
                headers: [
                    "Cookie": "tb_access=\(tokens.access)", "Host": "localhost:8000", "Origin": "http://localhost:8000",
                ])
            expectProblem(response, 403, "origin-forbidden")
        }
    }

    @Test("A refresh by cookie needs an allowed origin")
    func refresh() async throws {
        try await withAccountScene(["PUBLIC_URL": "https://bridge.example.org"]) { scene in
            let tokens = try await scene.signIn()
            let cookie = "tb_access=expired; tb_refresh=\(tokens.refresh)"
            for origin in [nil, "https://evil.example.org"] {
                var headers = ["Cookie": cookie]
                headers["Origin"] = origin
                expectProblem(try await scene.post("refresh", nil, headers: headers), 403, "origin-forbidden")
            }
            let response = try await scene.post(
                "refresh", nil, headers: ["Cookie": cookie, "Origin": "https://bridge.example.org"])
            #expect(response.status == 200)
            let next = try TokenPair(response)
            #expect(next.cookies["tb_refresh"]?.value == next.refresh)
            #expect(try await scene.me(next.access).status == 200)
        }
    }

    @Test("A refresh token in the body wins over the cookie")
    func bodyFirst() async throws {
        try await withAccountScene { scene in
            let tokens = try await scene.signIn()
            let response = try await scene.post(
                "refresh", #"{"refresh_token":"\#(tokens.refresh)"}"#,
                headers: ["Cookie": "tb_access=\(tokens.access); tb_refresh=old"])
            #expect(response.status == 200)
        }
    }
}
