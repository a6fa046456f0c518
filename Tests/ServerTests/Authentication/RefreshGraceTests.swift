import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The seconds in which a spent refresh token is answered again.
///
/// RefreshStateTests tests the rules in the database.
@Suite(.deadline) struct RefreshGraceTests {
    /// A grace so long that the time of the test itself does not matter.
    private static let grace = ["JWT_REFRESH_GRACE": "300"]

    @Test("A refresh whose answer was lost can be repeated, and gives a fresh pair each time")
    func lostAnswer() async throws {
        try await withAccountScene(Self.grace) { scene in
            let first = try await scene.signIn()
            var pairs: [TokenPair] = []
            for _ in 0..<3 { pairs.append(try TokenPair(try await scene.refresh(first.refresh))) }
            #expect(Set(pairs.map(\.refresh) + [first.refresh]).count == 4)
            for pair in pairs { #expect(try await scene.me(pair.access).status == 200) }
        }
    }

    @Test("Requests of several tabs at once with one cookie all get a pair")
    func tabs() async throws {
        try await withAccountScene(["PUBLIC_URL": "http://127.0.0.1:8000"].merging(Self.grace) { $1 }) { scene in
            let tokens = try await scene.signIn()
            let headers = ["Cookie": "tb_refresh=\(tokens.refresh)", "Origin": "http://127.0.0.1:8000"]
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<6 { group.addTask { try await scene.post("refresh", nil, headers: headers).status } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses == Array(repeating: 200, count: 6))
            #expect(try await scene.me(tokens.access).status == 200)
        }
    }

    @Test("The first successor that is used ends its siblings, which then get 401 without ending the sign-in")
    func siblings() async throws {
        try await withAccountScene(Self.grace) { scene in
            let first = try await scene.signIn()
            let lost = try TokenPair(try await scene.refresh(first.refresh))
            let kept = try TokenPair(try await scene.refresh(first.refresh))
            let next = try TokenPair(try await scene.refresh(kept.refresh))
            expectProblem(try await scene.refresh(lost.refresh), 401, "unauthorized")
            #expect(try await scene.me(next.access).status == 200)
            #expect(try await scene.me(lost.access).status == 200, "its access token belongs to the same sign-in")
            // Long after its end, the sibling is a stolen token.
            try await scene.database.query("UPDATE app.refresh_tokens SET ended_at = ended_at - interval '301 seconds'")
            expectProblem(try await scene.refresh(lost.refresh), 401, "unauthorized")
            expectProblem(try await scene.me(next.access), 401, "unauthorized")
            expectProblem(try await scene.refresh(next.refresh), 401, "unauthorized")
        }
    }

    @Test("A spent token whose successor was used ends the sign-in, also within the grace")
    func successorUsed() async throws {
        try await withAccountScene(Self.grace) { scene in
            let first = try await scene.signIn()
            let second = try TokenPair(try await scene.refresh(first.refresh))
            let third = try TokenPair(try await scene.refresh(second.refresh))
            expectProblem(try await scene.refresh(first.refresh), 401, "unauthorized")
            expectProblem(try await scene.me(third.access), 401, "unauthorized")
        }
    }

    @Test("A spent token ends the sign-in after the grace")
    func late() async throws {
        try await withAccountScene(Self.grace) { scene in
            let first = try await scene.signIn()
            _ = try await scene.refresh(first.refresh)
            func passes(_ seconds: Int) async throws {
                try await scene.database.query(
                    "UPDATE app.refresh_tokens SET spent_at = spent_at - \(Duration.seconds(seconds))")
            }
            #expect(try await scene.refresh(first.refresh).status == 200)
            // The grace counts from the first spending, and no repetition extends it.
            try await passes(301)
            expectProblem(try await scene.refresh(first.refresh), 401, "unauthorized")
            expectProblem(try await scene.me(first.access), 401, "unauthorized")
        }
    }

    @Test("A sign-out within the grace ends the successors of a spent token too")
    func signedOut() async throws {
        try await withAccountScene(Self.grace) { scene in
            let first = try await scene.signIn()
            let pairs = [
                try TokenPair(try await scene.refresh(first.refresh)),
                try TokenPair(try await scene.refresh(first.refresh)),
            ]
            #expect(try await scene.post("logout", #"{"refresh_token":"\#(first.refresh)"}"#).status == 204)
            for pair in pairs + [first] {
                expectProblem(try await scene.refresh(pair.refresh), 401, "unauthorized")
                expectProblem(try await scene.me(pair.access), 401, "unauthorized")
            }
        }
    }

    @Test("A spent token that is answered for another address is in the audit log")
    func otherAddress() async throws {
        try await withAccountScene(Self.grace) { scene in
            let first = try await scene.signIn()
            for (address, records) in [("198.51.100.1", 0), ("198.51.100.1", 0), ("198.51.100.2", 1)] {
                let response = try await scene.post(
                    "refresh", #"{"refresh_token":"\#(first.refresh)"}"#, headers: ["X-Forwarded-For": address])
                #expect(response.status == 200)
                let found = try await scene.database.audit("action = 'sign_in.repeat'")
                #expect(found.count == records)
                #expect(found.allSatisfy { $0.user == scene.user })
            }
        }
    }
}
