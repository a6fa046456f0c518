import Foundation
import LocalPostgres
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// What an operator reads after a mistake with the database.
@Suite(.deadline) struct RefusalTests {
    /// A cluster with databases and roles for all mistakes, and a pooler.
    private struct Scene {
        let cluster: LocalPostgres
        let poolerPort: Int

        func url(_ text: String) -> String {
            text.replacing("TCP", with: "host=127.0.0.1 port=\(cluster.port)")
                .replacing("POOLER", with: "host=127.0.0.1 port=\(poolerPort)")
                .replacing("SOCKET", with: Self.socket(of: cluster))
        }

        /// The part of the connection string with the folder of the socket and the port.
        private static func socket(of cluster: LocalPostgres) -> String {
            String(cluster.connectionString().split(separator: " dbname=")[0])
        }

        /// A line without what differs from run to run.
        func constant(_ line: String) -> String {
            let folder = Self.socket(of: cluster).split(separator: "'").dropFirst().first.map(String.init) ?? "-"
            return line.replacing(folder, with: "/run/postgresql").replacing("\(cluster.port)", with: "5432")
                .replacing("port \(poolerPort) ", with: poolerPort > 1 ? "port 6432 " : "port \(poolerPort) ")
                .replacing("\t", with: " ")
                .replacing("/nowhere/.pg_service.conf", with: "~/.pg_service.conf")
                .replacing(#/0001_schema\.sql, .*: not applied/#, with: "0001_schema.sql, …: not applied")
        }
    }

    private static func withScene(_ body: (Scene) async throws -> Void) async throws {
        try await TestCluster.makeCluster(listensOnLoopback: true).use(stopMode: .immediate) { cluster in
            func run(_ statements: [String], in database: String) async throws {
                try await TestDatabase(cluster: cluster, name: database).withConnection { connection in
                    for statement in statements { try await connection.executeScript(statement) }
                }
            }
            for (database, statements) in Refusal.scene { try await run(statements, in: database) }
            try await body(Scene(cluster: cluster, poolerPort: 0))
            try await TestCluster.migrate("bridge", of: cluster)
            try await run(Refusal.afterMigration, in: "bridge")
            guard hasPooler else { return try await body(Scene(cluster: cluster, poolerPort: 1)) }
            try await withPooler(of: cluster, database: "bridge") { port in
                try await body(Scene(cluster: cluster, poolerPort: port))
            }
        }
    }

    private static func line(_ refusal: Refusal, in scene: Scene) async throws -> String {
        var environment = ["JWT_SECRET": Program.secret, "PORT": "0", "LOG_LEVEL": "critical", "HOME": "/nowhere"]
        for (name, url) in refusal.settings { environment[name] = scene.url(url) }
        environment[refusal.setting] = scene.url(refusal.url)
        let run = try await runProgram(builtProgram, refusal.command, environment: environment)
        #expect(run.status == refusal.status, "\(refusal.mistake): \(run.errorOutput)")
        #expect(run.output == "", "\(refusal.mistake)")
        #expect(run.errorLines.count == 1, "\(refusal.mistake): \(run.errorOutput)")
        let line = run.errorLines.last ?? ""
        let isOfMigrations = refusal.words.contains("not applied")
        #expect(line.hasPrefix("therapybridge: \(isOfMigrations ? "" : "\(refusal.setting): ")"), "\(line)")
        for word in refusal.words { #expect(line.contains(word), "\(refusal.mistake): \(line)") }
        #expect(!line.contains("hush"), "\(refusal.mistake): a piece of the password is in the line")
        return line
    }

    @Test("Each mistake has one line with the cause, the setting and the remedy, and nothing is created before")
    func lines() async throws {
        var rows: [[String]] = []
        try await Self.withScene { scene in
            // Before the migration of `bridge`, the cluster has no roles of ours, and a refusal makes none.
            let isNew = scene.poolerPort == 0
            for refusal in Refusal.all where Self.needsNewCluster(refusal) == isNew {
                let line = try await Self.line(refusal, in: scene)
                rows.append([
                    refusal.mistake, "`\(refusal.command.joined(separator: " "))`",
                    "`\(scene.constant(line.replacing(#/^therapybridge: /#, with: "")))`", "\(refusal.status)",
                ])
            }
            guard isNew else { return }
            let roles = try await TestDatabase(cluster: scene.cluster, name: "postgres").query(
                "SELECT FROM pg_roles WHERE rolname LIKE 'therapybridge%'")
            #expect(roles.isEmpty, "a refused migration has made roles")
        }
        let order = Refusal.all.map { $0.mistake + $0.command.joined() }
        rows.sort { left, right in
            func place(_ row: [String]) -> Int {
                order.firstIndex(of: row[0] + row[1].replacing("`", with: "").replacing(" ", with: "")) ?? 0
            }
            return place(left) < place(right)
        }
        guard hasPooler else { return }
        try GeneratedPart(name: "refusals").hold(
            table(["mistake", "command", "the line", "exit status"], rows))
    }

    /// True for the mistakes that a migrated cluster would hide.
    private static func needsNewCluster(_ refusal: Refusal) -> Bool {
        refusal.command == ["migrate", "up"] && refusal.url.contains(#/dbname=(latin|ascii|taken|owned|bare) /#)
    }
}
