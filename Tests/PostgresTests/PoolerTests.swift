import Foundation
import Glibc
import LocalPostgres
import PostgresTestSupport
import TestSupport
import Testing

@testable import Postgres

private let program = "/usr/sbin/pgbouncer"

/// A real PgBouncer in transaction mode.
///
/// Debian's package is `pgbouncer`.
@Suite(
    .deadline,
    .enabled(if: FileManager.default.isExecutableFile(atPath: program), "pgbouncer is not installed"))
struct PoolerTests {
    /// Runs a PgBouncer with two connections to the shared server, and lends a configuration that uses it.
    private func withPooler(_ body: (PostgresConfiguration) async throws -> Void) async throws {
        let server = try await TestCluster.reachable.server()
        let (descriptor, port) = try listenOnLoopback()
        close(descriptor)
        let directory = "/tmp/tb-pgtest-\(ProcessInfo.processInfo.processIdentifier)-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let settings = """
            [databases]
            postgres = host=127.0.0.1 port=\(server.port) user=postgres password=\(server.superuserPassword)
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = \(port)
            unix_socket_dir =
            auth_type = any
            pool_mode = transaction
            default_pool_size = 2
            """
        try Data(settings.utf8).write(to: URL(fileURLWithPath: "\(directory)/pgbouncer.ini"))
        let process = Process()
        let lifeline = Pipe()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        // It ends when the other end of its standard input closes, and thus with this process in any case. SIGTERM
        // would not do: a child inherits the signal mask of the thread that starts it, and the mask may block the
        // signal.
        process.arguments = ["-c", #""$@" </dev/null & cat >/dev/null; kill -KILL $!"#, "lifeline", program, "--quiet"]
        process.arguments?.append("\(directory)/pgbouncer.ini")
        // PgBouncer refuses to run as root, like PostgreSQL.
        if geteuid() == 0 { process.arguments? += ["--user", "nobody"] }
        process.standardInput = lifeline
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        defer {
            try? lifeline.fileHandleForWriting.close()
            process.waitUntilExit()
        }
        let configuration = try PostgresConfiguration(
            connectionString: "host=127.0.0.1 port=\(port) user=any dbname=postgres", pooler: .transaction,
            connectTimeout: TestDeadline.event, queryTimeout: TestDeadline.event)
        try await eventually("pgbouncer answers") {
            (try? await PostgresConnection.withConnection(configuration) { _ in }) != nil
        }
        try await body(configuration)
    }

    @Test("Queries, transactions and deadlines work through PgBouncer")
    func queries() async throws {
        try await withPooler { configuration in
            try await PostgresPool.withPool(
                configuration, settings: PostgresPoolConfiguration(size: 8, waitTimeout: TestDeadline.event)
            ) { pool in
                try await withThrowingTaskGroup(of: Bool.self) { group in
                    for number in 0..<400 {
                        group.addTask {
                            if number.isMultiple(of: 20) {
                                _ = try? await pool.query("SELECT pg_sleep(600)", timeout: .milliseconds(20))
                            }
                            return try await pool.withTransaction { connection in
                                try await connection.query("SELECT \(number)")[0].decode(0, as: Int.self) == number
                            }
                        }
                    }
                    for try await isRight in group { #expect(isRight) }
                }
                // The first connection to the database that has run a query has prepared nothing.
                let prepared = try await pool.query("SELECT count(*) FROM pg_prepared_statements")
                #expect(try prepared[0].decode(0, as: Int.self) == 0)
            }
        }
    }

    /// The trap: LISTEN succeeds, and a NOTIFY to itself even comes back while the client has the server's connection.
    ///
    /// Later none does.
    @Test("A listener behind PgBouncer never reports live")
    func listener() async throws {
        try await withPooler { configuration in
            var timing = ListenerTiming()
            // Enough for LISTEN on a loaded machine.
            timing.answer = .seconds(3)
            try await withListener(channels: ["pooled"], timing: timing, configuration: configuration) {
                listener, events in
                let trouble = try await events.trouble()
                #expect(trouble == .notProved)
                try await eventually("the listener has tried again") { listener.statistics.failures >= 2 }
                #expect(listener.statistics.livePeriods == 0)
            }
        }
    }
}
