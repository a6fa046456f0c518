import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

private let password = AccountScene.password

/// The limits on failed logins.
@Suite(.deadline) struct SignInLimitTests {
    /// A server with an account.
    ///
    /// The period is so long that no failure expires during a test.
    private struct Scene: Sendable {
        let server: TestServer
        let email = "ada@clinic.example"

        func login(_ email: String, _ password: String, from address: String? = nil) async throws -> TestResponse {
            var headers = ["Content-Type": "application/json"]
            headers["X-Forwarded-For"] = address
            let body = try JSONEncoder().encode(["email": email, "password": password])
            return try await server.request(.POST, "/api/auth/login", headers: headers, body: body)
        }

        func statuses(_ times: Int, _ attempt: @escaping @Sendable () async throws -> TestResponse) async throws
            -> [Int]
        {
            var statuses: [Int] = []
            for _ in 0..<times { statuses.append(try await attempt().status) }
            return statuses
        }
    }

    private func withScene(
        _ environment: [String: String], _ body: @escaping @Sendable (Scene) async throws -> Void
    ) async throws {
        try await withDatabase { database in
            let user = try await database.addUser(.therapist, email: "ada@clinic.example")
            try await database.setPassword(password, of: user)
            let settings = ["LOGIN_FAILURE_PERIOD": "36000"].merging(environment) { _, new in new }
            try await withServer(over: database, settings) { try await body(Scene(server: $0)) }
        }
    }

    @Test("Failed logins on one account reach a limit, for the right password and unknown accounts too")
    func account() async throws {
        try await withScene(["LOGIN_MAX_FAILURES_PER_ACCOUNT": "3"]) { scene async throws in
            for email in [scene.email, "nobody@clinic.example"] {
                #expect(try await scene.statuses(3) { try await scene.login(email, "wrong") } == [401, 401, 401])
                for (address, password) in [(email, "wrong"), (email, password), (" \(email.uppercased())", password)] {
                    let response = try await scene.login(address, password)
                    expectProblem(response, 429, "too-many-requests")
                    let wait = try #require(response.headers["Retry-After"].first.flatMap { Int($0) })
                    #expect((1...12_000).contains(wait))
                    #expect(response.headers["Set-Cookie"].isEmpty)
                }
            }
            // The limit does not affect another account.
            #expect(try await scene.login("bob@clinic.example", "wrong").status == 401)
        }
    }

    @Test("Successful logins and logins of inactive accounts do not count as failures")
    func success() async throws {
        try await withScene(["LOGIN_MAX_FAILURES_PER_ACCOUNT": "2", "LOGIN_MAX_FAILURES_PER_ADDRESS": "3"]) {
            scene async throws in
            let right = try await scene.statuses(5) { try await scene.login(scene.email, password) }
            #expect(right == [200, 200, 200, 200, 200])
            #expect(try await scene.login(scene.email, "wrong").status == 401)
            try await scene.server.database.query("UPDATE app.users SET is_active = false")
            let inactive = try await scene.statuses(3) { try await scene.login(scene.email, password) }
            #expect(inactive == [403, 403, 403])
            try await scene.server.database.query("UPDATE app.users SET is_active = true")
            // A success takes back its own charge, and none of the failures before it.
            #expect(try await scene.login(scene.email, "wrong").status == 401)
            #expect(try await scene.login(scene.email, password).status == 429)
        }
    }

    /// Counting after the check of the password would let unlimited parallel guesses through.
    @Test("Parallel guesses at two servers get no more attempts than the limit")
    func atOnce() async throws {
        let limit = ["LOGIN_MAX_FAILURES_PER_ACCOUNT": "4", "LOGIN_FAILURE_PERIOD": "36000"]
        try await withScene(limit) { scene async throws in
            try await withServer(over: scene.server.database, limit) { other async throws in
                let scenes = [scene, Scene(server: other)]
                let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                    for index in 0..<16 {
                        group.addTask { try await scenes[index % 2].login(scene.email, "wrong \(index)").status }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                #expect(statuses.filter { $0 == 401 }.count == 4)
                #expect(statuses.filter { $0 == 429 }.count == 12)
                for scene in scenes { #expect(try await scene.login(scene.email, password).status == 429) }
            }
        }
    }

    @Test("Failed logins from one address reach a limit, whatever the account; IPv6 counts by network")
    func address() async throws {
        try await withScene(["LOGIN_MAX_FAILURES_PER_ADDRESS": "2"]) { scene async throws in
            func guess(_ account: Int, from address: String) async throws -> Int {
                try await scene.login("user\(account)@clinic.example", "wrong", from: address).status
            }
            for (first, second, other) in [
                ("198.51.100.1", "198.51.100.1", "198.51.100.2"),
                ("2001:db8:1:1::1", "2001:db8:1:1:ffff::2", "2001:db8:1:2::1"),
            ] {
                #expect(try await guess(1, from: first) == 401)
                #expect(try await guess(2, from: second) == 401)
                #expect(try await guess(3, from: first) == 429)
                #expect(try await scene.login(scene.email, password, from: second).status == 429)
                // The server ignores the addresses that the client put before the proxy's.
                #expect(try await guess(3, from: "203.0.113.5, \(first)") == 429)
                #expect(try await scene.login(scene.email, password, from: other).status == 200)
            }
            // A login with a malformed email address counts too.
            #expect(try await scene.login("no address", "wrong", from: "192.0.2.1").status == 401)
            #expect(try await scene.login("", "wrong", from: "192.0.2.1").status == 401)
            #expect(try await scene.login("no address", "wrong", from: "192.0.2.1").status == 429)
        }
    }

    @Test("The address of the connection counts when its proxy is not trusted")
    func untrusted() async throws {
        try await withScene(["LOGIN_MAX_FAILURES_PER_ADDRESS": "2", "TRUSTED_PROXIES": "10.0.0.0/8"]) {
            scene async throws in
            var statuses: [Int] = []
            for index in 1...4 {
                let address = "198.51.100.\(index)"
                statuses.append(try await scene.login("user\(index)@clinic.example", "wrong", from: address).status)
            }
            #expect(statuses == [401, 401, 429, 429])
        }
    }

    @Test("The database stores neither the email address nor the network address of a failed login")
    func nothingKept() async throws {
        try await withScene([:]) { scene async throws in
            _ = try await scene.login("nobody@clinic.example", "wrong", from: "198.51.100.1")
            let rows = try await scene.server.database.query(
                "SELECT octet_length(subject) AS length, encode(subject, 'escape') AS text FROM app.attempt_limits")
            #expect(rows.count == 2)
            for row in rows {
                #expect(try row.decode("length", as: Int32.self) == 32)
                let text = try row.decode("text", as: String.self)
                #expect(!text.contains("nobody"))
                #expect(!text.contains("198"))
            }
        }
    }

    @Test("Failed logins are counted in the metrics, and the setting 0 means no limit")
    func metrics() async throws {
        try await withScene(["LOGIN_MAX_FAILURES_PER_ACCOUNT": "1", "LOGIN_MAX_FAILURES_PER_ADDRESS": "0"]) {
            scene async throws in
            let attempts = try await scene.statuses(3) { try await scene.login("nobody@clinic.example", "wrong") }
            #expect(attempts == [401, 429, 429])
            for index in 0..<4 { #expect(try await scene.login("user\(index)@clinic.example", "wrong").status == 401) }
            let token = try await scene.server.token(try await scene.server.database.addUser(.admin))
            let scrape = try Scrape(try await scene.server.request(.GET, "/metrics", token: token).text)
            #expect(scrape.value("therapybridge_sign_ins_total", ["outcome": "limited"]) == 2)
            #expect(scrape.value("therapybridge_sign_ins_total", ["outcome": "refused"]) == 5)
        }
    }

    @Test("Unknown refresh tokens are limited by address, and valid ones do not count")
    func refresh() async throws {
        try await withScene(["LOGIN_MAX_FAILURES_PER_ADDRESS": "2"]) { scene async throws in
            func refresh(_ token: String, from address: String) async throws -> TestResponse {
                try await scene.server.request(
                    .POST, "/api/auth/refresh",
                    headers: ["Content-Type": "application/json", "X-Forwarded-For": address],
                    body: Data(#"{"refresh_token":"\#(token)"}"#.utf8))
            }
            var token = try #require(
                try await scene.login(scene.email, password).json()["refresh_token"] as? String)
            for _ in 0..<4 {
                let response = try await refresh(token, from: "198.51.100.1")
                #expect(response.status == 200)
                token = try #require(try response.json()["refresh_token"] as? String)
            }
            for _ in 0..<2 { #expect(try await refresh("guess", from: "198.51.100.1").status == 401) }
            expectProblem(try await refresh(token, from: "198.51.100.1"), 429, "too-many-requests")
            // The rejected refresh did not spend the token: another address can use it.
            #expect(try await refresh(token, from: "198.51.100.2").status == 200)
            // The limit does not affect logins.
            #expect(try await scene.login(scene.email, password, from: "198.51.100.1").status == 200)
        }
    }
}
