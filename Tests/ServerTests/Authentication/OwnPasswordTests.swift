import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// `POST /api/auth/password`.
@Suite(.deadline) struct OwnPasswordTests {
    private let newPassword = "another horse, another battery"

    private func change(
        _ scene: AccountScene, _ token: String, _ current: String, _ new: String
    ) async throws -> TestResponse {
        let body = try JSONEncoder().encode(["current_password": current, "new_password": new])
        return try await scene.server.request(
            .POST, "/api/auth/password", token: token, headers: ["Content-Type": "application/json"], body: body)
    }

    @Test("A user changes the own password, and only the present sign-in goes on")
    func changes() async throws {
        try await withAccountScene { scene in
            let other = try await scene.signIn()
            let own = try await scene.signIn()
            #expect(try await change(scene, own.access, AccountScene.password, newPassword).status == 204)
            #expect(try await scene.me(own.access).status == 200)
            #expect(try await scene.refresh(own.refresh).status == 200)
            expectProblem(try await scene.me(other.access), 401, "unauthorized")
            expectProblem(try await scene.refresh(other.refresh), 401, "unauthorized")
            let old = try await scene.post(
                "login", #"{"email":"\#(scene.email)","password":"\#(AccountScene.password)"}"#)
            expectProblem(old, 401, "unauthorized")
            let new = try await scene.post("login", #"{"email":"\#(scene.email)","password":"\#(newPassword)"}"#)
            #expect(new.status == 200)
        }
    }

    @Test("A wrong current password gets 403, counts as a failed attempt, and changes nothing")
    func wrong() async throws {
        try await withAccountScene(["LOGIN_MAX_FAILURES_PER_ACCOUNT": "2", "LOGIN_FAILURE_PERIOD": "36000"]) { scene in
            let tokens = try await scene.signIn()
            for _ in 0..<2 {
                expectProblem(
                    try await change(scene, tokens.access, "wrong", newPassword), 403, "forbidden",
                    detail: "current_password")
            }
            expectProblem(
                try await change(scene, tokens.access, AccountScene.password, newPassword), 429, "too-many-requests")
            #expect(try await scene.me(tokens.access).status == 200)
        }
    }

    @Test("A new password that breaks a rule gets 422 with the name of the field")
    func rules() async throws {
        try await withAccountScene { scene in
            let tokens = try await scene.signIn()
            for new in [
                "short", "ｓhort12", "password123", "aaaaaaaaaaaa", "ada@clinic.example", "ADA@clinic.example",
                String(repeating: "xy", count: 129),
            ] {
                expectProblem(
                    try await change(scene, tokens.access, AccountScene.password, new), 422, "invalid-value",
                    detail: "new_password: ", "\(new)")
            }
            #expect(try await change(scene, tokens.access, AccountScene.password, newPassword).status == 204)
        }
    }
}
