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
@Suite("The end of a sign-in", .deadline)
struct SignInEndTests {
    private static let password = "correct horse battery"

    /// Two servers over one database, without the poll, and a patient with a password and a session.
    private struct Scene: Sendable {
        let first: TestServer
        let second: TestServer
        let session: SessionID

        func login() async throws -> (access: String, refresh: String) {
            let body = #"{"email":"ada@clinic.example","password":"\#(SignInEndTests.password)"}"#
            return try tokens(of: try await first.post("/api/auth/login", body))
        }

        func refresh(_ token: String, at server: TestServer) async throws -> TestResponse {
            try await server.post("/api/auth/refresh", #"{"refresh_token":"\#(token)"}"#)
        }

        func tokens(of response: TestResponse) throws -> (access: String, refresh: String) {
            let json = try response.json()
            return (
                try #require(json["access_token"] as? String), try #require(json["refresh_token"] as? String)
            )
        }

        /// Opens a stream at each server, and checks that `end` ends both.
        func expectRevoked(_ token: String, _ end: () async throws -> Void) async throws {
            let path = "/api/sessions/\(session)/status/stream"
            try await first.withStream(path, token: token) { one in
                _ = try await one.next("progress")
                try await second.withStream(path, token: token) { other in
                    _ = try await other.next("progress")
                    try await end()
                    #expect(try await one.rest().map(\.event) == ["revoked"])
                    #expect(try await other.rest().map(\.event) == ["revoked"])
                }
            }
            for server in [first, second] {
                #expect(try await server.request(.GET, "/api/auth/me", token: token).status == 401)
            }
        }
    }

    private func withScene(
        passwordCost: Passwords.Cost = .forTests, _ body: @escaping @Sendable (Scene) async throws -> Void
    ) async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "3600"], passwordCost: passwordCost) { first in
            let database = first.database
            let user = try await database.addUser(.patient, email: "ada@clinic.example")
            let hash = try await Passwords(cost: .init(logN: 4, blockSize: 1, parallelism: 1)).hash(Self.password)
            try await database.query("UPDATE app.users SET password_hash = \(hash) WHERE id = \(user.rawValue)")
            let session = try await database.addSession(of: user)
            try await withServer(over: database, ["SSE_UPDATE_INTERVAL": "3600"]) { second in
                try await body(Scene(first: first, second: second, session: session))
            }
        }
    }

    @Test("A sign-out at one server ends the streams of the sign-in at every server")
    func signedOut() async throws {
        try await withScene { scene in
            let (access, refresh) = try await scene.login()
            try await scene.expectRevoked(access) { () async throws in
                #expect(try await scene.second.request(.POST, "/api/auth/logout", token: access).status == 204)
            }
            #expect(try await scene.refresh(refresh, at: scene.first).status == 401)
        }
    }

    @Test("A second use of a refresh token ends the streams of the sign-in at every server, the thief's too")
    func reused() async throws {
        try await withScene { scene in
            let stolen = try await scene.login().refresh
            let thief = try scene.tokens(of: try await scene.refresh(stolen, at: scene.second))
            try await scene.expectRevoked(thief.access) {
                expectProblem(try await scene.refresh(stolen, at: scene.first), 401, "unauthorized")
            }
            #expect(try await scene.refresh(thief.refresh, at: scene.second).status == 401)
        }
    }

    @Test("A login renews a cheap hash to the standard cost, and the sign-in goes on")
    func renewedHash() async throws {
        try await withScene(passwordCost: .standard) { scene in
            let (access, _) = try await scene.login()
            let hash = try await scene.first.database.query(
                "SELECT password_hash FROM app.users WHERE email = 'ada@clinic.example'")[0]
                .decode(0, as: String.self)
            #expect(hash.hasPrefix("$scrypt$ln=15,r=8,p=3$"))
            #expect(try await scene.first.request(.GET, "/api/auth/me", token: access).status == 200)
            _ = try await scene.login()
            let after = try await scene.first.database.query(
                "SELECT password_hash FROM app.users WHERE email = 'ada@clinic.example'")[0]
                .decode(0, as: String.self)
            #expect(after == hash)
        }
    }
}
