import Domain
import Foundation
import Postgres
import PostgresTestSupport
import PropertySupport
import Store
import TestSupport
import Testing

/// The states of refresh tokens: `app.refresh_sign_in` against a model, and with two requests at once.
@Suite(.deadline) struct RefreshStateTests {
    /// A grace and steps of time so long that the time of the test itself does not matter.
    private static let grace = 1000
    private static let step = 300

    private static let hash = "$scrypt$ln=4,r=1,p=1$c2FsdA$a2V5"

    private struct Scene: Sendable {
        let database: TestDatabase
        let store: SignInStore
        let user: UserID
        var terms = SignInStore.Terms(
            lifetime: .seconds(100_000), maximumAge: .seconds(1_000_000), maximumCount: 50,
            grace: .seconds(RefreshStateTests.grace))

        func begin(_ token: [UInt8]) async throws -> SignInID {
            let period = try await store.begin(
                user: user, presented: RefreshStateTests.hash, refreshHash: token, terms: terms,
                client: .init(userAgent: "first", address: "192.0.2.1"))
            return try #require(period).signIn
        }

        func present(_ token: [UInt8], for next: [UInt8], from address: String? = "192.0.2.1") async throws -> String {
            let outcome = try await store.refresh(
                hash: token, newHash: next, terms: terms, client: .init(userAgent: "later", address: address))
            return switch outcome {
            case .renewed: "renewed"
            case .reused: "reused"
            case .refused: "refused"
            case .inactive: "inactive"
            }
        }

        /// Lets time pass for all tokens.
        func passes(_ seconds: Int) async throws {
            try await database.query(
                """
                UPDATE app.refresh_tokens
                SET spent_at = spent_at - \(Duration.seconds(seconds)), ended_at = ended_at - \(Duration.seconds(seconds))
                """)
        }
    }

    private func withScene(_ body: @escaping @Sendable (Scene) async throws -> Void) async throws {
        try await withDatabase { database in
            let user = try await database.addUser(.therapist)
            try await database.query("UPDATE app.users SET password_hash = \(Self.hash)")
            try await database.withServerPool(size: 4) {
                try await body(Scene(database: database, store: SignInStore(pool: $0), user: user))
            }
        }
    }

    private static func token(_ name: some CustomStringConvertible) -> [UInt8] {
        let text = Array("\(name)".utf8)
        return Array((text + Array(repeating: 0, count: 32)).prefix(32))
    }

    /// The rules in Swift, as the documentation states them.
    private struct Model {
        struct Token {
            let predecessor: Int?
            var spentAt: Int?
            var endedAt: Int?
        }

        var tokens = [Token(predecessor: nil)]
        var isRevoked = false
        var now = 0

        private mutating func revoke() -> String {
            isRevoked = true
            return "reused"
        }

        mutating func present(_ index: Int) -> String {
            if isRevoked { return "refused" }
            let token = tokens[index]
            if let endedAt = token.endedAt {
                return now < endedAt + RefreshStateTests.grace ? "refused" : revoke()
            }
            if let spentAt = token.spentAt {
                let successors = tokens.filter { $0.predecessor == index }
                guard now < spentAt + RefreshStateTests.grace, successors.allSatisfy({ $0.spentAt == nil }) else {
                    return revoke()
                }
            } else {
                tokens[index].spentAt = now
                for sibling in tokens.indices where sibling != index && token.predecessor != nil {
                    if tokens[sibling].predecessor == token.predecessor { tokens[sibling].endedAt = now }
                }
            }
            tokens.append(Token(predecessor: index))
            return "renewed"
        }
    }

    @Test("Each use of a token in each state has the outcome of the model")
    func model() async throws {
        try await withScene { scene in
            try await holds(forCases: 60) { generator in
                let run = UUID()
                let signIn = try await scene.begin(Self.token("\(run)".prefix(28) + "-0"))
                var model = Model()
                var history: [String] = []
                for _ in 0..<14 {
                    if generator.happens(oneIn: 3) {
                        let seconds = Self.step * Int.random(in: 1...4, using: &generator)
                        try await scene.passes(seconds)
                        model.now += seconds
                        history.append("+\(seconds)")
                        continue
                    }
                    // Mostly one of the newest tokens.
                    let count = model.tokens.count
                    let index =
                        generator.happens(oneIn: 4)
                        ? Int.random(in: 0..<count, using: &generator) : max(0, count - generator.pick([1, 2, 3]))
                    let next = Self.token("\(run)".prefix(28) + "-\(count)")
                    let outcome = try await scene.present(Self.token("\(run)".prefix(28) + "-\(index)"), for: next)
                    let expected = model.present(index)
                    history.append("\(index): \(outcome)")
                    guard outcome == expected else { return "\(history) instead of \(expected)" }
                    let rows = try await scene.database.query(
                        "SELECT revoked_at IS NOT NULL AS is_revoked FROM app.auth_sessions WHERE id = \(signIn)")
                    guard try rows[0].decode("is_revoked", as: Bool.self) == model.isRevoked else {
                        return "\(history): the sign-in is not as in the model"
                    }
                }
                return nil
            }
        }
    }

    @Test("The grace of a sibling counts from its end, not from the spending of its predecessor")
    func siblingGrace() async throws {
        try await withScene { scene in
            for (wait, outcome, isRevoked) in [(900, "refused", false), (1200, "reused", true)] {
                let names = (0..<5).map { Self.token("\(wait) \($0)") }
                let signIn = try await scene.begin(names[0])
                #expect(try await scene.present(names[0], for: names[1]) == "renewed")
                #expect(try await scene.present(names[0], for: names[2]) == "renewed")
                // Long after the grace of their predecessor, the first of the two successors is used.
                try await scene.passes(2000)
                #expect(try await scene.present(names[2], for: names[3]) == "renewed")
                try await scene.passes(wait)
                #expect(try await scene.present(names[1], for: names[4]) == outcome)
                let rows = try await scene.database.query(
                    "SELECT revoked_reason FROM app.auth_sessions WHERE id = \(signIn)")
                #expect(
                    try rows[0].decode(0, as: String?.self) == (isRevoked ? "refresh_token_reused" : nil))
            }
        }
    }

    @Test("Two requests at once with one token both get a pair; of two siblings at once, one does")
    func atOnce() async throws {
        try await withScene { scene in
            for round in 0..<10 {
                let names = (0..<5).map { Self.token("\(round) \($0)") }
                _ = try await scene.begin(names[0])
                async let first = scene.present(names[0], for: names[1])
                async let second = scene.present(names[0], for: names[2])
                #expect(try await [first, second] == ["renewed", "renewed"])
                async let third = scene.present(names[1], for: names[3])
                async let fourth = scene.present(names[2], for: names[4])
                #expect(try await [third, fourth].sorted() == ["refused", "renewed"])
            }
        }
    }

    @Test("A spent token that is answered for another address is in the audit log; IPv6 counts by network")
    func otherAddress() async throws {
        try await withScene { scene in
            for (index, (first, second, isOther)) in [
                ("192.0.2.1", "192.0.2.1", false), ("192.0.2.1", "192.0.2.2", true),
                ("2001:db8:1:1::1", "2001:db8:1:1:ffff::2", false), ("2001:db8:1:1::1", "2001:db8:1:2::1", true),
                ("192.0.2.1", nil as String?, true),
            ].enumerated() {
                let names = (0..<3).map { Self.token("\(index) \($0)") }
                let signIn = try await scene.begin(names[0])
                _ = try await scene.present(names[0], for: names[1], from: first)
                _ = try await scene.present(names[0], for: names[2], from: second)
                let records = try await scene.database.audit(
                    "action = 'sign_in.repeat' AND auth_session_id = '\(signIn)'")
                #expect(records.count == (isOther ? 1 : 0), "\(first) \(second ?? "-")")
                #expect(records.allSatisfy { $0.user == scene.user && $0.isAllowed })
            }
        }
    }

    @Test("No refresh extends a sign-in beyond its greatest age")
    func greatestAge() async throws {
        try await withScene { scene in
            let names = (0..<4).map { Self.token("age \($0)") }
            let signIn = try await scene.begin(names[0])
            func remaining() async throws -> Double {
                let rows = try await scene.database.query(
                    """
                    SELECT extract(epoch FROM expires_at - clock_timestamp())::double precision
                    FROM app.auth_sessions WHERE id = \(signIn)
                    """)
                return try rows[0].decode(0, as: Double.self)
            }
            #expect(try await (99_000...100_000).contains(remaining()))
            try await scene.database.query(
                "UPDATE app.auth_sessions SET created_at = created_at - interval '950000 seconds'")
            #expect(try await scene.present(names[0], for: names[1]) == "renewed")
            #expect(try await (49_000...50_000).contains(remaining()))
            try await scene.database.query(
                "UPDATE app.auth_sessions SET created_at = created_at - interval '50001 seconds'")
            #expect(try await scene.present(names[1], for: names[2]) == "refused")
            // A spent token is not answered again either.
            #expect(try await scene.present(names[0], for: names[3]) == "refused")
        }
    }

    @Test("A deactivation and a refresh at once leave no sign-in")
    func deactivation() async throws {
        try await withScene { scene in
            for round in 0..<10 {
                try await scene.database.query("UPDATE app.users SET is_active = true")
                let names = (0..<2).map { Self.token("off \(round) \($0)") }
                _ = try await scene.begin(names[0])
                async let refreshed = scene.present(names[0], for: names[1])
                async let changed = scene.database.query("UPDATE app.users SET is_active = false")
                _ = try await (refreshed, changed)
                let standing = try await scene.database.query("SELECT FROM app.auth_sessions WHERE revoked_at IS NULL")
                #expect(standing.isEmpty)
            }
        }
    }
}
