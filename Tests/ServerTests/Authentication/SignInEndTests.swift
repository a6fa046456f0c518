import Credentials
import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The end of a sign-in, at the other servers of the database too.
@Suite(.deadline) struct SignInEndTests {
    /// Two servers over one database, without the poll, and a patient with a password and a session.
    private struct Scene: Sendable {
        let first: AccountScene
        let second: AccountScene
        let session: SessionID

        /// Opens a stream at each server, and checks that `end` ends both.
        func expectRevoked(_ token: String, _ end: () async throws -> Void) async throws {
            let path = "/api/sessions/\(session)/status/stream"
            try await first.server.withStream(path, token: token) { one in
                _ = try await one.next("progress")
                try await second.server.withStream(path, token: token) { other in
                    _ = try await other.next("progress")
                    try await end()
                    #expect(try await one.rest().map(\.event) == ["revoked"])
                    #expect(try await other.rest().map(\.event) == ["revoked"])
                }
            }
            for server in [first, second] { #expect(try await server.me(token).status == 401) }
        }
    }

    private func withScene(
        passwordCost: Passwords.Cost = .forTests, _ body: @escaping @Sendable (Scene) async throws -> Void
    ) async throws {
        let settings = ["SSE_UPDATE_INTERVAL": "3600", "JWT_REFRESH_GRACE": "0"]
        try await withServer(settings, passwordCost: passwordCost) { server in
            let first = try await AccountScene(server, role: .patient)
            let session = try await first.database.addSession(of: first.user)
            try await withServer(over: first.database, settings) { second in
                try await body(Scene(first: first, second: first.at(second), session: session))
            }
        }
    }

    @Test("A sign-out at one server ends the streams of the sign-in at every server")
    func signedOut() async throws {
        try await withScene { scene in
            let tokens = try await scene.first.signIn()
            try await scene.expectRevoked(tokens.access) { () async throws in
                let response = try await scene.second.server.request(.POST, "/api/auth/logout", token: tokens.access)
                #expect(response.status == 204)
            }
            #expect(try await scene.first.refresh(tokens.refresh).status == 401)
        }
    }

    @Test("A second use of a refresh token ends the streams of the sign-in at every server, the thief's too")
    func reused() async throws {
        try await withScene { scene in
            let stolen = try await scene.first.signIn().refresh
            let thief = try TokenPair(try await scene.second.refresh(stolen))
            try await scene.expectRevoked(thief.access) {
                expectProblem(try await scene.first.refresh(stolen), 401, "unauthorized")
            }
            #expect(try await scene.second.refresh(thief.refresh).status == 401)
        }
    }

    @Test("A login renews a cheap hash to the standard cost, and the sign-in goes on")
    func renewedHash() async throws {
        try await withScene(passwordCost: .standard) { scene in
            let access = try await scene.first.signIn().access
            let hash = try await scene.first.passwordHash
            #expect(hash.hasPrefix("$scrypt$ln=15,r=8,p=3$"))
            #expect(try await scene.first.me(access).status == 200)
            _ = try await scene.first.signIn()
            #expect(try await scene.first.passwordHash == hash)
        }
    }
}

extension AccountScene {
    /// The stored hash of the password.
    fileprivate var passwordHash: String {
        get async throws {
            try await database.query("SELECT password_hash FROM app.users WHERE id = \(user.rawValue)")[0]
                .decode(0, as: String.self)
        }
    }
}
