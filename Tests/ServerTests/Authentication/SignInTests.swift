import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct SignInTests {
    private let password = AccountScene.password

    @Test("A login returns a pair of tokens and the user")
    func login() async throws {
        try await withAccountScene(["JWT_ACCESS_TTL": "900"]) { scene in
            let response = try await scene.post(
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
                    "id": scene.user.description, "email": scene.email, "full_name": "Ada Ärztin",
                    "role": "therapist",
                ])
            let me = try await scene.me(try #require(json["access_token"] as? String))
            #expect(me.status == 200)
            #expect(try me.json() as NSDictionary == user as NSDictionary)
        }
    }

    @Test("A wrong password and an unknown account get the same 401")
    func wrong() async throws {
        try await withAccountScene { scene in
            _ = try await scene.database.addUser(.patient, email: "no-password@clinic.example")
            var details: Set<String> = []
            for (email, password) in [
                (scene.email, "wrong"), (scene.email, ""), (scene.email, password + " "),
                (scene.email, String(repeating: "x", count: 10_000)), ("nobody@clinic.example", password),
                ("no-password@clinic.example", password), ("no address", password), ("", ""),
                ("' OR true --", password),
            ] {
                let body = try JSONEncoder().encode(["email": email, "password": password])
                let response = try await scene.post("login", String(decoding: body, as: UTF8.self))
                expectProblem(response, 401, "unauthorized", "\(email)")
                #expect(response.headers["Set-Cookie"].isEmpty)
                details.insert(try response.json()["detail"] as? String ?? "")
            }
            #expect(details.count == 1)
        }
    }

    @Test("An inactive account gets 403 after the right password, and 401 after a wrong one")
    func inactive() async throws {
        try await withAccountScene { scene in
            try await scene.database.query("UPDATE app.users SET is_active = false")
            let right = try await scene.post("login", #"{"email":"\#(scene.email)","password":"\#(password)"}"#)
            expectProblem(right, 403, "account-inactive")
            let wrong = try await scene.post("login", #"{"email":"\#(scene.email)","password":"wrong"}"#)
            expectProblem(wrong, 401, "unauthorized")
        }
    }

    @Test("A login with a missing field or a field of another type gets 422 with the field's name")
    func fields() async throws {
        try await withAccountScene { scene in
            for (body, name) in [
                (#"{"password":"x"}"#, "email"), (#"{"email":"a@b"}"#, "password"),
                (#"{"email":1,"password":"x"}"#, "email"), (#"{"email":"a@b","password":null}"#, "password"),
                (#"{"email":"a@b","password":["x"]}"#, "password"), ("{}", "email"),
            ] {
                expectProblem(try await scene.post("login", body), 422, "invalid-value", detail: "\(name): ")
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
        try await withAccountScene(environment) { scene in
            let tokens = try await scene.signIn()
            #expect(tokens.cookies.count == 2)
            let secure: Set<String> = isSecure ? ["secure"] : []
            let access = try #require(tokens.cookies["tb_access"])
            #expect(access.value == tokens.access)
            #expect(access.attributes == secure.union(["httponly", "samesite=strict", "path=/", "max-age=900"]))
            let refresh = try #require(tokens.cookies["tb_refresh"])
            #expect(refresh.value == tokens.refresh)
            let others = refresh.attributes.filter { !$0.hasPrefix("max-age=") }
            #expect(others == secure.union(["httponly", "samesite=strict", "path=/api/auth"]))
            // The sign-in has begun some time before this cookie.
            let age = try #require(refresh.age)
            #expect((4_900...5_000).contains(age))
        }
    }

    @Test("A login ignores the cookies that the client already has")
    func oldCookie() async throws {
        try await withAccountScene { scene in
            let first = try await scene.signIn()
            let second = try await scene.signIn(headers: [
                "Cookie": "tb_access=\(first.access); tb_refresh=\(first.refresh)"
            ])
            #expect(second.refresh != first.refresh)
        }
    }
}
