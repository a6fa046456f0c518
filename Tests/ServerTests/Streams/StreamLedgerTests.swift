import Domain
import LocalPostgres
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Synchronization
import TestSupport
import Testing

/// Many clients connect and disconnect while the listener's connection is killed and PostgreSQL crashes.
///
/// The test compares the states that each client received with the committed states.
@Suite(.deadline(.seconds(600))) struct StreamLedgerTests {
    @Test(
        "Every client receives exactly the committed transitions, in order, and finally the state of the database",
        arguments: HintSource.allCases)
    func ledger(source: HintSource) async throws {
        let scale = LedgerScale.chosen
        try await withOwnCluster { database in
            let environment = ["SSE_MAX_STREAMS_PER_USER": "100000", "DATABASE_POOL_SIZE": "8"]
                .merging(source.settings(interval: 0.5)) { $1 }
            try await withServer(over: database, environment, databaseTimeouts: .standard) { server in
                let patient = try await database.addUser(.patient)
                let token = try await server.token(patient)
                var sessions: [SessionID] = []
                for _ in 0..<scale.sessions { sessions.append(try await database.addSession(of: patient)) }
                let entries = try await run(scale, server, sessions, token, source)
                #expect(entries.count >= scale.clients)
                try await check(entries, against: database)
            }
        }
    }

    private func run(
        _ scale: LedgerScale, _ server: TestServer, _ sessions: [SessionID], _ token: String, _ source: HintSource
    ) async throws -> [LedgerEntry] {
        let isEnding = Atomic<Bool>.Reference()
        let database = server.database
        return try await withThrowingTaskGroup(of: [LedgerEntry].self) { clients in
            for number in 0..<scale.clients {
                let client = LedgerClient(
                    server: server, session: sessions[number % sessions.count], token: token, isEnding: isEnding)
                clients.addTask { try await client.watch() }
            }
            let writers = (0..<8).map { number in
                LedgerWriter(
                    database: database,
                    sessions: sessions.indices.filter { $0 % 8 == number }.map { sessions[$0] },
                    pace: .seconds(8) / Double(scale.changesPerSecond))
            }
            let end = ContinuousClock.now + scale.duration
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in writers { group.addTask { try await writer.write(until: end) } }
                group.addTask { try await LedgerFaults.inject(over: scale.duration, into: database, source) }
                try await group.waitForAll()
            }
            isEnding.set()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in writers { group.addTask { try await writer.finish() } }
                try await group.waitForAll()
            }
            return try await clients.reduce(into: []) { $0 += $1 }
        }
    }

    private func check(_ entries: [LedgerEntry], against database: TestDatabase) async throws {
        let committed = try await LedgerTransitions(database)
        for entry in entries {
            let transitions = try #require(committed[entry.session])
            let first = try #require(entry.events.first).version
            let last = try #require(entry.events.last)
            #expect(zip(entry.events, entry.events.dropFirst()).allSatisfy { $0.version < $1.version })
            // From the version that the client resumed from, or the snapshot, up to the last event.
            let start = entry.after ?? first - 1
            let owed = transitions.filter { $0.version > start && $0.version <= last.version }
            let got = Dictionary(uniqueKeysWithValues: entry.events.map { ($0.version, $0.status) })
            #expect(owed.allSatisfy { got[$0.version] == $0.status }, "a transition is missing or wrong")
            // A percentage has the status of the transition before it.
            for event in entry.events {
                let status = transitions.last { $0.version <= event.version }?.status
                #expect(event.status == status, "a state that was never committed")
            }
        }
        let ends = Dictionary(grouping: entries, by: \.session).mapValues {
            $0.filter { $0.events.last?.status == "processed" }
        }
        for (session, transitions) in committed.bySession where ends[session] != nil {
            #expect(ends[session]?.allSatisfy { $0.events.last?.version == transitions.last?.version } == true)
        }
    }
}
