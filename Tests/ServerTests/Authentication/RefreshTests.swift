import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct RefreshTests {
    @Test("A refresh returns a new pair of tokens of the same sign-in")
    func renews() async throws {
        try await withAccountScene { scene in
            let first = try await scene.signIn()
            let second = try TokenPair(try await scene.refresh(first.refresh))
            #expect(second.refresh != first.refresh)
            #expect(try await scene.me(second.access).status == 200)
            // The earlier access token stays valid until it expires: it belongs to the same sign-in.
            #expect(try await scene.me(first.access).status == 200)
            let third = try TokenPair(try await scene.refresh(second.refresh))
            #expect(try await scene.me(third.access).status == 200)
        }
    }

    @Test("Without a grace, a refresh token that is used twice ends its sign-in, and no other")
    func reuse() async throws {
        try await withAccountScene(["JWT_REFRESH_GRACE": "0"]) { scene in
            let other = try await scene.signIn()
            let first = try await scene.signIn()
            let second = try TokenPair(try await scene.refresh(first.refresh))
            expectProblem(try await scene.refresh(first.refresh), 401, "unauthorized")
            expectProblem(try await scene.refresh(second.refresh), 401, "unauthorized")
            expectProblem(try await scene.me(second.access), 401, "unauthorized")
            #expect(try await scene.me(other.access).status == 200)
            #expect(try await scene.refresh(other.refresh).status == 200)
        }
    }

    @Test("Without a grace, parallel uses of one refresh token return one pair, and the sign-in ends")
    func atOnce() async throws {
        try await withAccountScene(["JWT_REFRESH_GRACE": "0"]) { scene in
            let tokens = try await scene.signIn()
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<4 { group.addTask { try await scene.refresh(tokens.refresh).status } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses.sorted() == [200, 401, 401, 401])
            expectProblem(try await scene.me(tokens.access), 401, "unauthorized")
        }
    }

    @Test("An unknown or expired refresh token gets 401, and an inactive account gets 403")
    func refused() async throws {
        try await withAccountScene { scene in
            let tokens = try await scene.signIn()
            expectProblem(try await scene.post("refresh", nil), 401, "unauthorized")
            expectProblem(try await scene.post("refresh", "{}"), 422, "invalid-value", detail: "refresh_token: ")
            for unknown in ["", "x", tokens.access, tokens.refresh + "x"] {
                expectProblem(try await scene.refresh(unknown), 401, "unauthorized")
            }
            try await scene.database.query("UPDATE app.users SET is_active = false")
            expectProblem(try await scene.refresh(tokens.refresh), 403, "account-inactive")
            try await scene.database.query("UPDATE app.users SET is_active = true")
            try await scene.database.query("UPDATE app.refresh_tokens SET expires_at = now()")
            expectProblem(try await scene.refresh(tokens.refresh), 401, "unauthorized")
        }
    }
}
