import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// What a page of another website could send without asking first.
@Suite(.deadline) struct SignInOriginTests {
    @Test(
        "A login and a refresh from a page of another website get 403, whatever they carry",
        arguments: ["login", "refresh"])
    func foreign(_ route: String) async throws {
        let environment = ["PUBLIC_URL": "https://bridge.example.org", "SSE_CORS_ORIGIN": "https://app.example.org"]
        try await withAccountScene(environment) { scene in
            let tokens = try await scene.signIn()
            let body =
                route == "login"
                ? #"{"email":"\#(scene.email)","password":"\#(AccountScene.password)"}"#
                : #"{"refresh_token":"\#(tokens.refresh)"}"#
            for origin in [
                "null", "", "https://evil.example.org", "http://bridge.example.org", "https://bridge.example.org:8443",
                "https://bridge.example.org.evil.example", "https://bridge.example.org, https://evil.example.org",
            ] {
                let response = try await scene.post(route, body, headers: ["Origin": origin])
                expectProblem(response, 403, "origin-forbidden", "\(origin)")
                #expect(response.headers["Set-Cookie"].isEmpty)
            }
            for origin in ["https://bridge.example.org", "https://app.example.org"] {
                let body = route == "login" ? body : #"{"refresh_token":"\#(try await scene.signIn().refresh)"}"#
                #expect(try await scene.post(route, body, headers: ["Origin": origin]).status == 200)
            }
        }
    }

    @Test("Every route with a JSON body refuses one without its Content-Type, or with one that a form can send")
    func contentType() async throws {
        try await withServer { server in
            let clinic = try await Clinic(server)
            let description = try await APIDescription(server)
            let operations = description.operations.filter { _, operation in
                let body = description.object(operation["requestBody"])
                return description.object(body["content"])["application/json"] != nil
            }
            #expect(operations.count >= 15)
            for (name, operation) in operations {
                let responses = description.object(operation["responses"])
                #expect(responses["415"] != nil, "\(name) declares 415")
                let words = name.split(separator: " ")
                let path = String(words[1]).replacing("/api/users/{id}", with: "/api/users/\(clinic.id(.patient))")
                    .replacing("{id}", with: "\(clinic.session)").replacing("{session_id}", with: "\(clinic.session)")
                let method = HTTPMethod(rawValue: String(words[0]))
                let isForPipelines = operation["x-who"] as? String == "pipeline"
                // The token would end its sign-in there.
                let token =
                    path == "/api/auth/logout" ? nil : clinic.token(isForPipelines ? .pipeline : .admin)
                for type in [nil, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
                {
                    var headers: [String: String] = [:]
                    headers["Content-Type"] = type
                    let response = try await server.request(
                        method, path, token: token, headers: headers, body: Data("{}".utf8))
                    expectProblem(response, 415, "unsupported-media", "\(name) \(type ?? "none")")
                }
                let typed = try await server.request(
                    method, path, token: token, headers: ["Content-Type": "application/json; charset=utf-8"],
                    body: Data("{}".utf8))
                #expect(typed.status != 415, "\(name)")
            }
        }
    }

    @Test("A request without a body needs no Content-Type")
    func noBody() async throws {
        try await withAccountScene(["PUBLIC_URL": "http://127.0.0.1:8000"]) { scene in
            let tokens = try await scene.signIn()
            let headers = ["Cookie": "tb_refresh=\(tokens.refresh)", "Origin": "http://127.0.0.1:8000"]
            #expect(try await scene.post("refresh", nil, headers: headers).status == 200)
            expectProblem(try await scene.post("login", nil), 400, "malformed-request")
            #expect(try await scene.post("logout", nil).status == 204)
        }
    }

    @Test("Sign-ins with the right password have a wide limit, by account and by address")
    func wideLimit() async throws {
        let settings = [
            "LOGIN_MAX_PER_ACCOUNT": "3", "LOGIN_MAX_PER_ADDRESS": "4", "LOGIN_FAILURE_PERIOD": "36000",
        ]
        try await withAccountScene(settings) { scene in
            let other = try await scene.database.addUser(.patient, email: "bob@clinic.example")
            try await scene.database.setPassword(AccountScene.password, of: other)
            func login(_ email: String, from address: String) async throws -> TestResponse {
                try await scene.post(
                    "login", #"{"email":"\#(email)","password":"\#(AccountScene.password)"}"#,
                    headers: ["X-Forwarded-For": address])
            }
            for _ in 0..<3 { #expect(try await login(scene.email, from: "198.51.100.1").status == 200) }
            let limited = try await login(scene.email, from: "198.51.100.2")
            expectProblem(limited, 429, "too-many-requests")
            #expect(limited.headers.contains(name: "Retry-After"))
            #expect(try await login("bob@clinic.example", from: "198.51.100.1").status == 200)
            expectProblem(try await login("bob@clinic.example", from: "198.51.100.1"), 429, "too-many-requests")
            #expect(try await login("bob@clinic.example", from: "198.51.100.2").status == 200)
            // A wrong password is charged elsewhere.
            let wrong = try await scene.post(
                "login", #"{"email":"bob@clinic.example","password":"wrong"}"#,
                headers: ["X-Forwarded-For": "198.51.100.1"])
            expectProblem(wrong, 401, "unauthorized")
        }
    }
}
