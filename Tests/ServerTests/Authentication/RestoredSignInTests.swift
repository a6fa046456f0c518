import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// A sign-in counts in the cluster in which it began: a restored dump brings back sign-ins that have ended since.
@Suite(.deadline) struct RestoredSignInTests {
    @Test("After a restore, no token of an earlier sign-in counts, and a new sign-in does")
    func restored() async throws {
        try await withServer { server in
            let scene = try await AccountScene(server)
            let early = try await scene.signIn()
            #expect(try await scene.me(early.access).status == 200)
            try await server.database.query("UPDATE app.auth_sessions SET cluster = cluster + 1")
            #expect(try await scene.me(early.access).status == 401)
            #expect(try await scene.refresh(early.refresh).status == 401)
            let late = try await scene.signIn()
            #expect(try await scene.me(late.access).status == 200)
            #expect(try await scene.refresh(late.refresh).status == 200)
            let list = try await server.request(.GET, "/api/auth/sign-ins", token: late.access)
            #expect(try #require(try list.json()["items"] as? [any Sendable]).count == 1)
        }
    }
}
