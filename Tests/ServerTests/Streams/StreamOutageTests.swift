import Domain
import LocalPostgres
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// docs/streams.md, "Delivery times" and "When the database does not answer".
@Suite(.deadline) struct StreamOutageTests {
    /// Lends a server whose listener connects with a role of its own, so that a test can block the listener alone.
    private func withListenerRole<Result: Sendable>(
        _ environment: [String: String], _ body: @escaping @Sendable (StreamScene, ListenerRole) async throws -> Result
    ) async throws -> Result {
        try await withDatabase { database in
            let role = ListenerRole(name: "listener_of_\(database.name)", database: database)
            try await role.create()
            let environment = environment.merging(["DATABASE_LISTEN_URL": database.url(role.name)]) { $1 }
            let result = try await withServer(over: database, environment) { server in
                try await body(StreamScene(server), role)
            }
            try await role.drop()
            return result
        }
    }

    @Test("Without a listener the poll serves, and the stream is not degraded")
    func pollServes() async throws {
        try await withListenerRole(["SSE_UPDATE_INTERVAL": "0.2"]) { scene, role in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                try await eventually("the listener is connected") { try await role.isConnected }
                try await role.shutOut()
                for progress in 20...24 {
                    let version = try await scene.report(.transcribing, progress)
                    let event = try await reader.next("progress")
                    #expect(event.version == version)
                }
                #expect(try await !role.isConnected)
                try await scene.report(.transcribed, 60)
                try await scene.report(.processed, 100)
                let names = Set(try await reader.rest().compactMap(\.event))
                #expect(names.isSubset(of: ["progress", "complete"]))
            }
        }
    }

    /// The next poll comes after the end of the test: only the resync after the reconnect can find the change.
    @Test("After a reconnect the listener's resync finds the missed changes without the poll")
    func resync() async throws {
        try await withListenerRole(["SSE_UPDATE_INTERVAL": "3600", "SSE_HEARTBEAT_INTERVAL": "3"]) { scene, role in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                try await eventually("the listener is connected") { try await role.isConnected }
                try await reader.heartbeat()
                try await role.shutOut()
                try await scene.report(.transcribing, 20)
                try await scene.report(.transcribing, 30)
                // No notification reaches the server until it listens again.
                try await reader.heartbeat()
                try await role.letIn()
                let events = try await reader.events(upTo: 3)
                #expect(events.compactMap(\.version) == [2, 3])
                // The listener receives notifications again.
                try await reader.heartbeat()
                try await scene.report(.transcribed, 60)
                #expect(try await reader.next("progress").version == 4)
            }
        }
    }

    /// True for the events `degraded` and `recovered`.
    ///
    /// On a loaded machine, a read may fail once more after the database is back.
    private static func isAboutReads(_ event: StreamedEvent) -> Bool {
        ["degraded", "recovered"].contains(event.event)
    }

    @Test("After a crash of PostgreSQL, open streams go on with the missed changes and no reconnect")
    func crash() async throws {
        try await withOwnCluster { database in
            try await withServer(
                over: database, ["SSE_UPDATE_INTERVAL": "0.2"], databaseTimeouts: .standard
            ) { server in
                let first = try await StreamScene(server)
                let second = try await StreamScene(server)
                try await first.withStream { reader in
                    try await second.withStream { other in
                        _ = try await reader.next("progress")
                        _ = try await other.next("progress")
                        try await first.report(.transcribing, 30)
                        _ = try await reader.events(upTo: 2)
                        for _ in 0..<2 {
                            try await database.cluster.stop(mode: .immediate)
                            #expect(try await reader.next("degraded").isBare)
                            #expect(try await other.next("degraded").isBare)
                            try await database.cluster.start()
                            let version = try await first.passThroughFailure()
                            #expect(try await reader.next("recovered").isBare)
                            let missed = try await reader.events(upTo: version).filter { !Self.isAboutReads($0) }
                            #expect(missed.map(\.status) == ["failed", "pending", "transcribing"])
                            #expect(missed.allSatisfy { $0.event == "progress" })
                            #expect(try await other.next("recovered").isBare)
                        }
                        try await first.report(.transcribed, 60)
                        try await first.report(.processed, 100)
                        #expect(try await reader.rest().last?.event == "complete")
                        try await second.report(.failed, 0, error: "No speech.")
                        let end = try await other.rest().filter { $0.event != nil && !Self.isAboutReads($0) }
                        #expect(end.map(\.event) == ["error"])
                        #expect(end.first?.version == 2)
                    }
                }
            }
        }
    }

    @Test("A version that a client has seen survives a crash of PostgreSQL with the same state")
    func noVersionTwice() async throws {
        try await withOwnCluster { database in
            try await withServer(over: database, ["SSE_UPDATE_INTERVAL": "0.2"]) { server in
                let scene = try await StreamScene(server)
                try await scene.withStream { reader in
                    _ = try await reader.next("progress")
                    for progress in 20...29 { try await scene.report(.transcribing, progress) }
                    let seen = try await reader.events(upTo: 11)
                    try await database.cluster.restart(mode: .immediate)
                    let state = try await database.query(
                        "SELECT version, progress FROM app.session_progress WHERE session_id = \(scene.session.rawValue)"
                    )[0]
                    #expect(try state.decode("version", as: Int64.self) == 11)
                    #expect(Int(try state.decode("progress", as: Int16.self)) == seen.last?.progress)
                }
            }
        }
    }

    @Test("A stream that opens while the database is down sends unavailable and ends")
    func unavailable() async throws {
        try await withOwnCluster { database in
            try await withServer(over: database, databaseTimeouts: .standard) { server in
                let scene = try await StreamScene(server)
                try await database.cluster.stop(mode: .immediate)
                try await scene.withStream { try await expectUnavailable($0) }
                try await scene.withStream(lastEventID: "1") { try await expectUnavailable($0) }
                try await database.cluster.start()
                try await eventually("a stream opens again") {
                    try await scene.withStream { try await $0.nextEvent() }?.event == "progress"
                }
            }
        }
    }
}

/// Checks that a stream sends unavailable with a reconnection delay and ends.
func expectUnavailable(_ reader: EventReader, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    #expect(reader.status == 200, sourceLocation: sourceLocation)
    let blocks = try await reader.rest()
    let retry = try #require(blocks.compactMap(\.retry).first, sourceLocation: sourceLocation)
    #expect((500...5000).contains(retry), sourceLocation: sourceLocation)
    #expect(blocks.compactMap(\.event) == ["unavailable"], sourceLocation: sourceLocation)
    #expect(blocks.last?.isBare == true, sourceLocation: sourceLocation)
}

extension StreamScene {
    /// Writes three transitions in one commit, the first of which is a failure.
    ///
    /// - Returns: The version after them.
    fileprivate func passThroughFailure() async throws -> Int {
        try await database.query(
            """
            DO $$
            BEGIN
                PERFORM app.report_progress('\(unescaped: session.description)', 'failed', 0, NULL, 'Crash');
                UPDATE app.session_progress SET status = 'pending' WHERE session_id = '\(unescaped: session.description)';
                PERFORM app.report_progress('\(unescaped: session.description)', 'transcribing', 20);
            END $$
            """)
        return try #require(try await transitions().last)
    }
}

/// The role of one server's listener.
struct ListenerRole: Sendable {
    let name: String
    let database: TestDatabase

    func create() async throws { try await database.query("CREATE ROLE \(unescaped: name) LOGIN") }

    func drop() async throws { try await database.query("DROP ROLE \(unescaped: name)") }

    var isConnected: Bool {
        get async throws {
            try await !database.query("SELECT pid FROM pg_stat_activity WHERE usename = \(name)").isEmpty
        }
    }

    /// Ends the listener's connection and refuses each new one.
    func shutOut() async throws {
        try await database.query("ALTER ROLE \(unescaped: name) NOLOGIN")
        try await eventually("the listener is disconnected") {
            try await database.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = \(name)")
            return try await !isConnected
        }
    }

    func letIn() async throws { try await database.query("ALTER ROLE \(unescaped: name) LOGIN") }
}
