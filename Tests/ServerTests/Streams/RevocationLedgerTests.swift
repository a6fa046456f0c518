import Domain
import LocalPostgres
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Synchronization
import TestSupport
import Testing

/// Rights end, in every way, while the listener's connection is killed and PostgreSQL crashes.
///
/// The test compares the states that each client received with the states that were committed before its right ended.
@Suite(.deadline(.seconds(600))) struct RevocationLedgerTests {
    private static let sessions = 24

    @Test(
        "Nobody receives a state from after the end of the own right, and everybody else receives every transition",
        arguments: HintSource.allCases)
    func ledger(source: HintSource) async throws {
        try await withOwnCluster { database in
            let environment = source.settings(interval: 0.5).merging(["DATABASE_POOL_SIZE": "8"]) { $1 }
            try await withServer(over: database, environment, databaseTimeouts: .standard) { server in
                let ward = try await Ward(sessions: Self.sessions, on: server)
                let isEnding = Atomic<Bool>.Reference()
                let seen = try await withThrowingTaskGroup(of: RightsLedgerEntry.self) { watchers in
                    for watcher in ward.watchers {
                        watchers.addTask { try await watcher.watch(server, until: isEnding) }
                    }
                    for follower in ward.followers {
                        watchers.addTask { try await follower.watch(server, until: isEnding) }
                    }
                    let limits = try await changeRights(ward, database, source)
                    isEnding.set()
                    try await LedgerWriter(database: database, sessions: ward.sessions, pace: .zero).finish()
                    var entries: [RightsLedgerEntry] = []
                    for try await entry in watchers { entries.append(entry) }
                    return (entries, limits)
                }
                try await check(seen.0, seen.1, ward, database)
            }
        }
    }

    /// Writes to all sessions, ends rights and sign-ins of strangers, and injects faults.
    ///
    /// - Returns: For each client and session, the version that the session had after the commit that ended the right.
    private func changeRights(
        _ ward: Ward, _ database: TestDatabase, _ source: HintSource
    ) async throws -> [RightsLedgerKey: Int] {
        let duration = Duration.seconds(6)
        let end = ContinuousClock.now + duration
        return try await withThrowingTaskGroup(of: [RightsLedgerKey: Int].self) { group in
            for part in 0..<4 {
                let writer = LedgerWriter(
                    database: database,
                    sessions: ward.sessions.indices.filter { $0 % 4 == part }.map { ward.sessions[$0] },
                    pace: .milliseconds(25))
                group.addTask {
                    try await writer.write(until: end)
                    return [:]
                }
            }
            group.addTask { try await ward.endRights(over: duration, in: database) }
            group.addTask { try await ward.endSessions(over: duration, in: database) }
            group.addTask {
                try await ward.writeToLeaving(until: end, in: database)
                return [:]
            }
            group.addTask {
                try await ward.signOutStrangers(until: end, in: database)
                return [:]
            }
            group.addTask {
                try await LedgerFaults.inject(over: duration, into: database, source)
                return [:]
            }
            return try await group.reduce(into: [:]) { $0.merge($1) { first, _ in first } }
        }
    }

    private func check(
        _ entries: [RightsLedgerEntry], _ limits: [RightsLedgerKey: Int], _ ward: Ward, _ database: TestDatabase
    ) async throws {
        #expect(entries.count == ward.watchers.count + ward.followers.count)
        #expect(limits.count == ward.ends.count + ward.leaving.map(\.clients.count).reduce(0, +))
        let committed = try await LedgerTransitions(database)
        for entry in entries {
            for (session, states) in entry.states {
                if let limit = limits[RightsLedgerKey(client: entry.client, session: session)] {
                    let late = states.filter { $0.version > limit }
                    #expect(
                        late.isEmpty, "client \(entry.client) may not see what follows version \(limit) of \(session)")
                } else {
                    let transitions = try #require(committed[session])
                    let first = try #require(states.map(\.version).min())
                    let got = Dictionary(
                        states.map { ($0.version, $0.status) }, uniquingKeysWith: { first, _ in first })
                    let missed = transitions.filter { $0.version >= first && got[$0.version] != $0.status }
                    #expect(
                        missed.isEmpty,
                        "client \(entry.client) missed \(missed) of \(session), and got \(states)")
                }
            }
            #expect(
                ward.sessions(keptBy: entry.client).allSatisfy { entry.states[$0]?.last?.status == "processed" },
                "client \(entry.client) did not receive the end of a session")
        }
    }
}
