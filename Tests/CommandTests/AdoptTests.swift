import Domain
import LocalPostgres
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// A dump that was restored into another cluster, and the command `migrate adopt`.
@Suite(.deadline) struct AdoptTests {
    private static let email = "tilda@clinic.example"

    @Test("A restored server serves, refuses earlier sign-ins, and says so until the cluster is adopted")
    func restored() async throws {
        try await TestCluster.makeCluster().use(stopMode: .immediate) { old in
            try await TestCluster.migrate("bridge", of: old)
            let source = TestDatabase(cluster: old, name: "bridge")
            let therapist = try await source.addUser(.therapist, email: Self.email)
            let patient = try await source.addUser(.patient)
            try await source.assign(therapist, to: patient)
            let session = try await source.addSession(of: patient)
            try await source.report(session, .transcribing, 20)
            let deleted = try await source.addSession(of: patient)
            try await source.query("DELETE FROM app.therapy_sessions WHERE id = \(deleted.rawValue)")
            let early = try await token(source)

            try await TestCluster.makeCluster().use(stopMode: .immediate) { new in
                let target = try await restore(source, into: new)
                try await check(target, session, early: early)
            }
        }
    }

    private func token(_ database: TestDatabase) async throws -> String {
        let lines = try await Program.serving(database).lines("token", "--email", Self.email)
        return try #require(lines.first)
    }

    /// Follows `docs/operations.md`, "Back up" and "Restore a dump".
    private func restore(_ source: TestDatabase, into cluster: LocalPostgres) async throws -> TestDatabase {
        let dump = TestCluster.newDirectory() + ".dump"
        let programs = source.cluster.programDirectory
        let dumped = try await runProgram(
            programs + "/pg_dump",
            [
                "--enable-row-security", "--role=therapybridge_owner", "-n", "app", "-Fc", "-f", dump, source.url(),
            ])
        try #require(dumped.status == 0, "\(dumped.errorOutput)")
        try await TestDatabase(cluster: cluster, name: "postgres").query("CREATE DATABASE bridge")
        let target = TestDatabase(cluster: cluster, name: "bridge")
        #expect(try await Program.serving(target).lines("migrate", "roles") == [])
        let restored = try await runProgram(programs + "/pg_restore", ["--exit-on-error", "-d", target.url(), dump])
        try #require(restored.status == 0, "\(restored.errorOutput)")
        return target
    }

    private func check(_ database: TestDatabase, _ session: SessionID, early: String) async throws {
        let metricsPort = try freePort()
        let log = LogMemory()
        try await withServer(over: database, ["METRICS_PORT": "\(metricsPort)"], log: log) { server in
            let details = server.at(port: metricsPort)
            try await eventually("the details say it") {
                (try? await details.request(.GET, "/health/ready").text.contains("not adopted")) == true
            }
            #expect(try await server.request(.GET, "/api/auth/me", token: early).status == 401)
            let late = try await token(database)
            #expect(try await server.request(.GET, "/api/sessions/\(session)", token: late).status == 200)
            // No transaction of this cluster can have made what the dump brought.
            let positions = try await database.query(
                """
                SELECT FROM app.session_events WHERE xid <> '0' UNION ALL SELECT FROM app.deleted_sessions
                UNION ALL SELECT FROM app.hint_log WHERE session_id = \(session.rawValue)
                """)
            #expect(positions.isEmpty)

            #expect(try await Program.serving(database).lines("migrate", "adopt") == ["ended 2 sign-ins"])
            #expect(try await !details.request(.GET, "/health/ready").text.contains("not adopted"))
            for ended in [early, late] {
                #expect(try await server.request(.GET, "/api/auth/me", token: ended).status == 401)
            }
            let again = try await token(database)
            #expect(try await server.request(.GET, "/api/auth/me", token: again).status == 200)
            #expect(try await Program.serving(database).lines("migrate", "adopt") == ["ended 1 sign-in"])
        }
        #expect(log.text.contains("restored from another cluster and not adopted"))
        #expect(log.text.contains("positions of the old cluster are forgotten"))
    }

    @Test("In its own cluster, a server has nothing to say, and `adopt` ends the sign-ins")
    func own() async throws {
        try await withDatabase { database in
            _ = try await database.addUser(.therapist, email: Self.email)
            let token = try await token(database)
            let log = LogMemory()
            try await withServer(over: database, log: log) { server async throws in
                #expect(try await server.request(.GET, "/api/auth/me", token: token).status == 200)
                #expect(try await Program.serving(database).lines("migrate", "adopt") == ["ended 1 sign-in"])
                #expect(try await server.request(.GET, "/api/auth/me", token: token).status == 401)
            }
            #expect(!log.text.contains("adopted"))
        }
    }

    @Test("Only members of the owner's role adopt", arguments: ["therapybridge_server", "therapybridge_pipeline"])
    func forbidden(role: String) async throws {
        try await withDatabase { database in
            let run = try await Program(environment: ["DATABASE_MIGRATE_URL": database.url(role)])
                .run("migrate", "adopt")
            #expect(run.status != 0)
            #expect(run.output == "")
            #expect(run.errorLines.count == 1, "\(run.errorOutput)")
        }
    }
}
