import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The sign-ins of an account: their list, their end, their number and their age.
@Suite(.deadline) struct SignInListTests {
    private func items(_ response: TestResponse) throws -> [[String: any Sendable]] {
        #expect(response.status == 200)
        return try #require(try response.json()["items"] as? [[String: any Sendable]])
    }

    @Test("A user lists and ends the own sign-ins, and sees which one is current")
    func own() async throws {
        try await withAccountScene { scene in
            let phone = try await scene.signIn(headers: [
                "User-Agent": "Phone 1", "X-Forwarded-For": "198.51.100.1",
            ])
            let desk = try await scene.signIn(headers: ["User-Agent": "Desk", "X-Forwarded-For": "2001:db8::7"])
            let other = try await scene.server.token(try await scene.database.addUser(.patient))
            let list = "/api/auth/sign-ins"
            let found = try items(try await scene.server.request(.GET, list, token: desk.access))
            #expect(
                found.allSatisfy {
                    Set($0.keys) == ["id", "created_at", "last_used_at", "user_agent", "address", "is_current"]
                })
            #expect(found.map { $0["user_agent"] as? String } == ["Desk", "Phone 1"])
            #expect(found.map { $0["address"] as? String } == ["2001:db8::7", "198.51.100.1"])
            #expect(found.map { $0["is_current"] as? Bool } == [true, false])

            // A refresh brings the client up to date.
            let refreshed = try await scene.post(
                "refresh", #"{"refresh_token":"\#(phone.refresh)"}"#,
                headers: ["User-Agent": "Phone 2", "X-Forwarded-For": "198.51.100.9"])
            #expect(refreshed.status == 200)
            let later = try items(try await scene.server.request(.GET, list, token: phone.access))
            #expect(later.map { $0["user_agent"] as? String } == ["Desk", "Phone 2"])
            #expect(later.map { $0["address"] as? String } == ["2001:db8::7", "198.51.100.9"])
            #expect(later.map { $0["is_current"] as? Bool } == [false, true])
            let times = later.map { ($0["created_at"] as? String ?? "", $0["last_used_at"] as? String ?? "") }
            #expect(times[1].0 < times[1].1)

            let id = try #require(found[1]["id"] as? String)
            expectProblem(
                try await scene.server.request(.DELETE, "\(list)/\(id)", token: other), 404, "not-found")
            #expect(try await scene.me(phone.access).status == 200)
            // An ended sign-in counts as ended.
            for _ in 0..<2 {
                #expect(try await scene.server.request(.DELETE, "\(list)/\(id)", token: desk.access).status == 204)
            }
            expectProblem(try await scene.me(phone.access), 401, "unauthorized")
            #expect(try items(try await scene.server.request(.GET, list, token: desk.access)).count == 1)
            expectProblem(
                try await scene.server.request(.DELETE, "\(list)/\(SignInID.random())", token: desk.access), 404)
            expectProblem(
                try await scene.server.request(.DELETE, "\(list)/x", token: desk.access), 422, "invalid-value",
                detail: "id: ")
        }
    }

    @Test("An administrator lists and ends the sign-ins of an account, with records that name the administrator")
    func others() async throws {
        try await withAccountScene(role: .patient) { scene in
            let session = try await scene.database.addSession(of: scene.user)
            let tokens = try await scene.signIn()
            let administrator = try await scene.database.addUser(.admin)
            let admin = try await scene.server.token(administrator)
            let path = "/api/users/\(scene.user)/sign-ins"
            let found = try items(try await scene.server.request(.GET, path, token: admin))
            #expect(found.count == 1)
            #expect(found[0]["is_current"] as? Bool == false)
            try await scene.server.withStream("/api/sessions/\(session)/status/stream", token: tokens.access) {
                reader in
                _ = try await reader.next("progress")
                #expect(try await scene.server.request(.DELETE, path, token: admin).status == 204)
                #expect(try await reader.rest().map(\.event) == ["revoked"])
            }
            expectProblem(try await scene.me(tokens.access), 401, "unauthorized")
            expectProblem(try await scene.refresh(tokens.refresh), 401, "unauthorized")
            #expect(try items(try await scene.server.request(.GET, path, token: admin)).isEmpty)
            #expect(try await scene.me(admin).status == 200)
            for method in [HTTPMethod.GET, .DELETE] {
                let unknown = "/api/users/\(UserID.random())/sign-ins"
                expectProblem(try await scene.server.request(method, unknown, token: admin), 404, "not-found")
            }
            let records = try await scene.database.audit("action IN ('sign_ins.list', 'sign_in.end')")
            #expect(records.map(\.user) == [administrator, administrator])
            #expect(records.last?.subject == scene.user)
        }
    }

    @Test("One sign-in too many ends the oldest; tokens of the command and access tokens in use do not count")
    func number() async throws {
        try await withAccountScene(["SIGN_INS_PER_USER": "2"]) { scene in
            let byCommand = try await scene.server.token(scene.user)
            var pairs: [TokenPair] = []
            for _ in 0..<3 { pairs.append(try await scene.signIn()) }
            expectProblem(try await scene.me(pairs[0].access), 401, "unauthorized")
            expectProblem(try await scene.refresh(pairs[0].refresh), 401, "unauthorized")
            for pair in pairs.dropFirst() { #expect(try await scene.me(pair.access).status == 200) }
            #expect(try await scene.me(byCommand).status == 200)
        }
    }

    @Test("A sign-in ends at its greatest age, and no answer promises more")
    func age() async throws {
        try await withAccountScene(["SIGN_IN_MAX_AGE": "3600", "JWT_ACCESS_TTL": "1800"]) { scene in
            let first = try await scene.signIn()
            let age = try #require(first.cookies["tb_refresh"]?.age)
            #expect((3_500...3_600).contains(age))
            try await scene.database.query(
                "UPDATE app.auth_sessions SET created_at = created_at - interval '3000 seconds', expires_at = expires_at - interval '3000 seconds'"
            )
            let response = try await scene.refresh(first.refresh)
            #expect(response.status == 200)
            let second = try TokenPair(response)
            let expiry = try #require(try response.json()["expires_in"] as? Int)
            #expect((400...600).contains(expiry))
            #expect(try await scene.me(second.access).status == 200)
            try await scene.database.query(
                "UPDATE app.auth_sessions SET created_at = created_at - interval '601 seconds', expires_at = expires_at - interval '601 seconds'"
            )
            expectProblem(try await scene.me(second.access), 401, "unauthorized")
            expectProblem(try await scene.refresh(second.refresh), 401, "unauthorized")
        }
    }

    @Test("The tokens of a deactivated account get 403, and 401 for good after its activation")
    func activation() async throws {
        try await withAccountScene { scene in
            let stolen = try await scene.signIn()
            try await scene.database.query("UPDATE app.users SET is_active = false")
            expectProblem(try await scene.me(stolen.access), 403, "account-inactive")
            expectProblem(try await scene.refresh(stolen.refresh), 403, "account-inactive")
            try await scene.database.query("UPDATE app.users SET is_active = true")
            expectProblem(try await scene.me(stolen.access), 401, "unauthorized")
            expectProblem(try await scene.refresh(stolen.refresh), 401, "unauthorized")
            #expect(try await scene.me(try await scene.signIn().access).status == 200)
        }
    }
}
