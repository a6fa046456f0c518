import Foundation
import LocalPostgres
import Postgres
import PostgresTestSupport
import Subprocess
import SystemPackage
import TestSupport
import Testing

/// The start of `serve` and `work` while PostgreSQL is away.
@Suite(.deadline) struct DatabaseWaitTests {
    /// Runs a command, and calls `onLine` for each line of its log.
    private static func run(
        _ command: String, _ environment: [String: String],
        onLine: @escaping @Sendable (String, pid_t) async throws -> Void
    ) async throws -> (status: Int?, log: [String]) {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-wait-\(UUID().uuidString.prefix(8))")
        defer { try? FileManager.default.removeItem(at: folder) }
        let settings = [
            "JWT_SECRET": Program.secret, "PORT": "0", "UPLOAD_DIR": folder.path(percentEncoded: false),
        ].merging(environment) { $1 }
        let outcome = try await Subprocess.run(
            .path(FilePath(builtProgram)), arguments: [command], environment: .custom(programEnvironment(settings)),
            input: .none, output: .discarded, error: .sequence
        ) { execution in
            let processID = execution.processIdentifier.value
            defer { kill(processID, SIGKILL) }
            return try await within("the end of \(command)", limit: TestDeadline.test) {
                var log: [String] = []
                for try await line in execution.standardError.strings() {
                    log.append(line)
                    try await onLine(line, processID)
                }
                return log
            }
        }
        var status: Int?
        if case .exited(let code) = outcome.terminationStatus { status = Int(code) }
        return (status, outcome.closureResult)
    }

    @Test(
        "A process waits for PostgreSQL with one line, and SIGTERM or SIGINT ends the wait with status 0",
        arguments: ["serve", "work"], [SIGTERM, SIGINT])
    func stopped(command: String, signal: Int32) async throws {
        let url = "host=127.0.0.1 port=1 dbname=x user=y password=hush-hush"
        let (status, log) = try await Self.run(command, ["DATABASE_URL": url]) { line, process in
            // The first line about the wait is here, and the next attempt comes after a second.
            if line.contains("waiting for the database") { kill(process, signal) }
        }
        #expect(status == 0)
        #expect(log.count { $0.contains("waiting for the database") } == 1)
        #expect(log.contains { $0.contains("setting=DATABASE_URL") && $0.contains("remedy=start PostgreSQL") })
        #expect(!log.joined().contains("hush"))
        #expect(!log.contains { $0.contains("listening") })
    }

    /// A state that passes, and the connection string of a process that meets it.
    private static func states(_ cluster: LocalPostgres) -> [(state: String, url: String)] {
        [
            ("nothing listens", "host=127.0.0.1 port=1 dbname=bridge user=therapybridge_server password=hush-hush"),
            ("the host has no address", "host=host.invalid dbname=bridge user=therapybridge_server password=hush-hush"),
            ("no connection is left", cluster.connectionString(database: "bridge", user: "limited")),
            (
                "the database takes no connections",
                cluster.connectionString(database: "shut", user: "therapybridge_server")
            ),
        ]
    }

    @Test("Each state that passes has a line with the cause, the setting and the remedy")
    func lines() async throws {
        var rows: [[String]] = []
        try await TestCluster.makeCluster().use(stopMode: .immediate) { cluster in
            try await TestCluster.migrate("bridge", of: cluster)
            let database = TestDatabase(cluster: cluster, name: "bridge")
            for statement in [
                "CREATE ROLE limited LOGIN CONNECTION LIMIT 0 IN ROLE therapybridge_server",
                "CREATE DATABASE shut ALLOW_CONNECTIONS false",
            ] { try await database.query(PostgresQuery(unescaped: statement)) }
            for (state, url) in Self.states(cluster) {
                let (status, log) = try await Self.run("serve", ["DATABASE_URL": url]) { line, process in
                    if line.contains("waiting for the database") || line.contains("listening") {
                        kill(process, SIGTERM)
                    }
                }
                #expect(status == 0, "\(state): \(log)")
                let line = try #require(log.first { $0.contains("waiting for the database") }, "\(state): \(log)")
                let found = try #require(line.firstMatch(of: #/reason=(.*) remedy=(.*) setting=(\w+)/#), "\(line)")
                #expect(!line.contains("hush"))
                #expect(found.output.3 == "DATABASE_URL")
                let folder = cluster.connectionString().split(separator: "'").dropFirst().first.map(String.init) ?? "-"
                let reason = String(found.output.1).replacing(folder, with: "/run/postgresql")
                    .replacing("\(cluster.port)", with: "5432").replacing("\t", with: " ")
                rows.append([state, "`\(reason)`", "`\(found.output.2)`"])
            }
        }
        try GeneratedPart(name: "waits").hold(table(["state", "`reason`", "`remedy`"], rows))
    }

    @Test("A process that waits starts when PostgreSQL does, and has logged one line", arguments: ["serve", "work"])
    func started(command: String) async throws {
        try await withOwnCluster { database in
            let cluster = database.cluster
            // What the tests' clusters commit is not on disk before an orderly stop.
            try await cluster.stop()
            let (status, log) = try await Self.run(
                command, ["DATABASE_URL": database.url("therapybridge_server")]
            ) { line, process in
                if line.contains("waiting for the database") { try await cluster.start() }
                if line.contains("listening for notifications") { kill(process, SIGTERM) }
            }
            #expect(status == 0, "\(log)")
            // PostgreSQL may refuse connections for a moment while it recovers, which is another reason.
            #expect((1...2).contains(log.count { $0.contains("waiting for the database") }))
            #expect(log.contains { $0.contains("the database answers") })
        }
    }

    @Test("A wrong password after the wait is status 78")
    func refused() async throws {
        try await TestCluster.makeCluster(listensOnLoopback: true).use(stopMode: .immediate) { cluster in
            try await cluster.stop(mode: .immediate)
            let url = cluster.loopbackConnectionString(password: "hush-hush")
            let (status, log) = try await Self.run("serve", ["DATABASE_URL": url]) { line, _ in
                if line.contains("waiting for the database") { try await cluster.start() }
            }
            #expect(status == 78)
            #expect(log.last?.hasPrefix("therapybridge: DATABASE_URL: ") == true, "\(log)")
            #expect(!log.joined().contains("hush"))
        }
    }

    @Test("SIGHUP, SIGUSR1 and SIGUSR2 end neither the wait nor the server", arguments: ["serve", "work"])
    func otherSignals(command: String) async throws {
        try await withDatabase { database in
            let (status, log) = try await Self.run(
                command, ["DATABASE_URL": database.url("therapybridge_server")]
            ) { line, process in
                if line.contains("listening for notifications") { kill(process, SIGUSR1) }
                if line.contains("signal=SIGUSR1") { kill(process, SIGUSR2) }
                if line.contains("signal=SIGUSR2") { kill(process, SIGHUP) }
                if line.contains("signal=SIGHUP") { kill(process, SIGTERM) }
            }
            #expect(status == 0, "\(log)")
        }
    }
}
