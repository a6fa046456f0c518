import Foundation
import Glibc
import LocalPostgres
import Postgres
import TestSupport
import Testing

@Suite(.deadline) struct LocalPostgresTests {
    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let directory = "/tmp/tb-pgtest-\(ProcessInfo.processInfo.processIdentifier)-\(UUID().uuidString.prefix(8))"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try await body(directory)
    }

    private func number(_ server: LocalPostgres, _ query: PostgresQuery) async throws -> Int {
        let configuration = try PostgresConfiguration(connectionString: server.connectionString())
        return try await PostgresConnection.withConnection(configuration) { connection in
            try await connection.query(query)[0].decode(0, as: Int.self)
        }
    }

    @Test func `A second start keeps the data`() async throws {
        try await withDirectory { directory in
            let first = try await LocalPostgres.start(directory: directory, fsync: false)
            let configuration = try PostgresConfiguration(connectionString: first.connectionString())
            try await PostgresConnection.withConnection(configuration) { connection in
                try await connection.executeScript("CREATE TABLE kept AS SELECT 42 AS n")
            }
            try await first.stop()
            let second = try await LocalPostgres.start(directory: directory, fsync: false)
            try await #expect(number(second, "SELECT n FROM kept") == 42)
            try await second.restart(mode: .immediate)
            try await #expect(number(second, "SELECT n FROM kept") == 42)
            try await second.stop(mode: .immediate)
            try await second.stop()
        }
    }

    @Test func `The cluster is in UTF-8 and its settings are what was asked for`() async throws {
        try await withDirectory { directory in
            let server = try await LocalPostgres.start(
                directory: directory, settings: ["max_connections": "17", "application_name": "a b"], fsync: false)
            let configuration = try PostgresConfiguration(connectionString: server.connectionString())
            try await PostgresConnection.withConnection(configuration) { connection in
                let row = try await connection.query(
                    """
                    SELECT current_setting('server_encoding'), current_setting('lc_collate'),
                           current_setting('max_connections'), current_setting('listen_addresses')
                    """)[0]
                let settings = try row.decode((String, String, String, String).self)
                #expect(settings == ("UTF8", "C.UTF-8", "17", ""))
            }
            try await server.stop(mode: .immediate)
        }
    }

    @Test func `A directory whose server runs is refused`() async throws {
        try await withDirectory { directory in
            let server = try await LocalPostgres.start(directory: directory, fsync: false)
            let error = await #expect(throws: LocalPostgresError.self) {
                try await LocalPostgres.start(directory: directory, fsync: false)
            }
            #expect(error?.code == .alreadyRunning)
            try await #expect(number(server, "SELECT 1") == 1)
            try await server.stop(mode: .immediate)
        }
    }

    /// The server's supervisor reads a pipe that only this process holds; letting go of it is what the kernel does for a
    /// process that was killed.
    @Test func `The server stops when nobody holds it any more, and the directory can be used at once`() async throws {
        try await withDirectory { directory in
            do { _ = try await LocalPostgres.start(directory: directory, fsync: false) }
            let next = try await LocalPostgres.start(directory: directory, fsync: false)
            try await #expect(number(next, "SELECT 1") == 1)
            try await next.stop(mode: .immediate)
        }
    }

    @Test func `A stale lock file of a crash is no hindrance`() async throws {
        try await withDirectory { directory in
            let server = try await LocalPostgres.start(directory: directory, fsync: false)
            try await server.stop()
            // A number that no process has: above the kernel's limit.
            let stale = "99999999\n\(directory)/data\n0\n5432\n\(directory)/run\n\n0 0\nready   \n"
            try Data(stale.utf8).write(to: URL(fileURLWithPath: "\(directory)/data/postmaster.pid"))
            try await server.start()
            try await #expect(number(server, "SELECT 1") == 1)
            try await server.stop(mode: .immediate)
        }
    }

    @Test func `A path too long for a socket gets one elsewhere`() async throws {
        try await withDirectory { directory in
            let long = directory + "/" + String(repeating: "long", count: 25)
            let server = try await LocalPostgres.start(directory: long, fsync: false)
            #expect(!server.socketDirectory.hasPrefix(long))
            try await #expect(number(server, "SELECT 1") == 1)
            try await server.stop(mode: .immediate)
            try? FileManager.default.removeItem(atPath: server.socketDirectory)
        }
    }

    @Test(.enabled(if: geteuid() == 0, "only root's directories are closed to the server's account"))
    func `A directory below one of root's alone is reached`() async throws {
        try await withDirectory { directory in
            try FileManager.default.createDirectory(
                atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            let server = try await LocalPostgres.start(directory: directory + "/below", fsync: false)
            try await #expect(number(server, "SELECT 1") == 1)
            try await server.restart(mode: .fast)
            try await #expect(number(server, "SELECT 1") == 1)
            try await server.stop(mode: .immediate)
        }
    }

    @Test func `A setting that the server refuses is an error with its log`() async throws {
        try await withDirectory { directory in
            let error = await #expect(throws: LocalPostgresError.self) {
                try await LocalPostgres.start(directory: directory, settings: ["no_such_setting": "1"], fsync: false)
            }
            #expect(error?.code == .start)
            #expect(error?.description.contains("no_such_setting") == true)
        }
    }
}
