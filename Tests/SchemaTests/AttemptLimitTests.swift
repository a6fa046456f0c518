import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The limit of failed sign-in attempts, with the server's role and concurrent connections.
@Suite(.deadline) struct AttemptLimitTests {
    /// A period so long that no charge wears off while a test runs.
    private static let period = Duration.seconds(36_000)

    private struct Scene: Sendable {
        let database: TestDatabase
        let store: AttemptStore

        func charge(_ subjects: [AttemptStore.Subject]) async throws -> Duration? {
            try await store.charge(subjects, period: AttemptLimitTests.period)
        }

        func refund(_ subjects: [AttemptStore.Subject]) async throws {
            try await store.refund(subjects, period: AttemptLimitTests.period)
        }

        func passes(_ time: String) async throws {
            try await database.query("UPDATE app.attempt_limits SET clear_at = clear_at - \(time)::interval")
        }
    }

    private func withScene(_ body: @escaping @Sendable (Scene) async throws -> Void) async throws {
        try await withDatabase { database in
            try await database.withServerPool(size: 8) {
                try await body(Scene(database: database, store: AttemptStore(pool: $0)))
            }
        }
    }

    private func subject(_ name: UInt8, limit: Int) -> AttemptStore.Subject {
        .init(key: Data(repeating: name, count: 32), limit: limit)
    }

    @Test(
        "Attempts up to the limit pass at once, and the next one waits for its share of the period")
    func burst() async throws {
        try await withScene { scene async throws in
            let one = subject(1, limit: 4)
            for _ in 0..<4 { #expect(try await scene.charge([one]) == nil) }
            let wait = try #require(try await scene.charge([one]))
            #expect(wait <= .seconds(9000))
            #expect(wait > .seconds(8000))
            #expect(try await scene.store.wait(for: [one], period: Self.period) != nil)
            #expect(try await scene.charge([subject(2, limit: 4)]) == nil)
        }
    }

    @Test("Charges wear off evenly, and subjects without charges are deleted")
    func wearsOff() async throws {
        try await withScene { scene async throws in
            let one = subject(1, limit: 4)
            for _ in 0..<4 { _ = try await scene.charge([one]) }
            try await scene.passes("9001 seconds")
            #expect(try await scene.charge([one]) == nil)
            #expect(try await scene.charge([one]) != nil)
            try await scene.passes("18001 seconds")
            _ = try await scene.charge([subject(2, limit: 1)])
            #expect(try await scene.store.forgetWornOff() == 0)
            try await scene.passes("18001 seconds")
            #expect(try await scene.store.forgetWornOff() == 1)
            #expect(try await scene.database.query("SELECT FROM app.attempt_limits").count == 1)
            #expect(try await scene.charge([subject(2, limit: 1)]) != nil)
        }
    }

    @Test("Concurrent attempts pass only up to the limit", arguments: 1...3)
    func atOnce(_ turn: Int) async throws {
        try await withScene { scene async throws in
            let one = subject(1, limit: 5)
            let passed = try await withThrowingTaskGroup(of: Bool.self) { group in
                for _ in 0..<40 { group.addTask { try await scene.charge([one]) == nil } }
                return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(passed == 5)
        }
    }

    @Test("A refund takes back its own charge and no more")
    func refund() async throws {
        try await withScene { scene async throws in
            let one = subject(1, limit: 3)
            for _ in 0..<20 {
                #expect(try await scene.charge([one]) == nil)
                try await scene.refund([one])
            }
            for _ in 0..<3 { #expect(try await scene.charge([one]) == nil) }
            #expect(try await scene.charge([one]) != nil)
            // The refund of an unknown subject does no harm.
            try await scene.refund([subject(9, limit: 1)])
        }
    }

    @Test("An attempt that one subject refuses is not charged to the other")
    func both() async throws {
        try await withScene { scene async throws in
            let account = subject(1, limit: 1)
            let address = subject(2, limit: 3)
            #expect(try await scene.charge([account, address]) == nil)
            for _ in 0..<10 { #expect(try await scene.charge([account, address]) != nil) }
            for _ in 0..<2 { #expect(try await scene.charge([address]) == nil) }
            // A full address leaves no rows of the accounts that it tries.
            for name in UInt8(10)..<20 { #expect(try await scene.charge([subject(name, limit: 9), address]) != nil) }
            #expect(try await scene.database.query("SELECT FROM app.attempt_limits").count == 2)
        }
    }

    @Test("Concurrent charges and refunds of the same subjects never deadlock, in any order")
    func order() async throws {
        try await withScene { scene async throws in
            let pair = [subject(1, limit: 1000), subject(2, limit: 1000)]
            try await withThrowingTaskGroup(of: Void.self) { group in
                for index in 0..<60 {
                    let subjects = index.isMultiple(of: 2) ? pair : pair.reversed()
                    group.addTask {
                        #expect(try await scene.charge(subjects) == nil)
                        try await scene.refund(subjects.reversed())
                        _ = try await scene.store.forgetWornOff()
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test("A clock that was set back locks a subject out for at most one share")
    func clock() async throws {
        try await withScene { scene async throws in
            let one = subject(1, limit: 4)
            _ = try await scene.charge([one])
            try await scene.database.query("UPDATE app.attempt_limits SET clear_at = clear_at + interval '10 years'")
            #expect(try #require(try await scene.charge([one])) <= .seconds(9000))
        }
    }
}
