import Foundation
import Glibc
import LocalPostgres
import Postgres
import TestSupport
import Testing

@Suite("A local cluster", .deadline) struct LocalPostgresTests {
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

    @Test("A second start keeps the data")
    func secondStart() async throws {
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

    @Test("The cluster is in UTF-8 and has the given settings")
    func settings() async throws {
        try await withDirectory { directory in
            let server = try await LocalPostgres.start(
                directory: directory, settings: ["max_connections": "17", "application_name": "a b"], fsync: false)
            let configuration = try PostgresConfiguration(connectionString: server.connectionString())
            try await PostgresConnection.withConnection(configuration) { connection in
                let row = try await connection.query(
                    """
                    SELECT current_setting('server_encoding'),
                           (SELECT datcollate::text FROM pg_database WHERE datname = current_database()),
                           current_setting('max_connections'), current_setting('listen_addresses')
                    """)[0]
                let settings = try row.decode((String, String, String, String).self)
                #expect(settings == ("UTF8", "C.UTF-8", "17", ""))
            }
            try await server.stop(mode: .immediate)
        }
    }

    @Test("A directory whose server runs is refused")
    func runningDirectory() async throws {
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

    /// The server's supervisor reads a pipe that only this process holds.
    ///
    /// The kernel closes the pipe of a killed process, and the test does the same.
    @Test("The server stops with the last reference, and the directory can be used at once")
    func released() async throws {
        try await withDirectory { directory in
            do { _ = try await LocalPostgres.start(directory: directory, fsync: false) }
            let next = try await LocalPostgres.start(directory: directory, fsync: false)
            try await #expect(number(next, "SELECT 1") == 1)
            try await next.stop(mode: .immediate)
        }
    }

    @Test("A stale lock file of a crash does no harm")
    func staleLock() async throws {
        try await withDirectory { directory in
            let server = try await LocalPostgres.start(directory: directory, fsync: false)
            try await server.stop()
            // No process has this number, because it is above the kernel's limit.
            let stale = "99999999\n\(directory)/data\n0\n5432\n\(directory)/run\n\n0 0\nready   \n"
            try Data(stale.utf8).write(to: URL(fileURLWithPath: "\(directory)/data/postmaster.pid"))
            try await server.start()
            try await #expect(number(server, "SELECT 1") == 1)
            try await server.stop(mode: .immediate)
        }
    }

    @Test("A path that is too long for a socket gets a socket elsewhere")
    func longPath() async throws {
        try await withDirectory { directory in
            let long = directory + "/" + String(repeating: "long", count: 25)
            let server = try await LocalPostgres.start(directory: long, fsync: false)
            #expect(!server.socketDirectory.hasPrefix(long))
            try await #expect(number(server, "SELECT 1") == 1)
            try await server.stop(mode: .immediate)
            try? FileManager.default.removeItem(atPath: server.socketDirectory)
        }
    }

    @Test(
        "A directory below one that only root can enter can be used",
        .enabled(if: geteuid() == 0, "only root's directories are closed to the server's account"))
    func rootsDirectory() async throws {
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

    @Test("A setting that the server refuses is an error with the server's log")
    func refusedSetting() async throws {
        try await withDirectory { directory in
            let error = await #expect(throws: LocalPostgresError.self) {
                try await LocalPostgres.start(directory: directory, settings: ["no_such_setting": "1"], fsync: false)
            }
            #expect(error?.code == .start)
            #expect(error?.description.contains("no_such_setting") == true)
        }
    }
}
