import Foundation
import LocalPostgres
import PostgresTestSupport
import TestSupport
import Testing

@testable import Postgres

/// Connections with TLS, where bytes may wait in OpenSSL's buffers while the socket has none.
@Suite("Connections with TLS", .deadline) struct TLSTests {
    /// Lends a server with TLS and a certificate of its own, and a configuration that trusts nothing else.
    private func withTLS<Value>(
        _ body: (LocalPostgres, PostgresConfiguration, _ root: String) async throws -> Value
    ) async throws -> Value {
        let server = try await TestCluster.makeCluster(listensOnLoopback: true)
        let superuser = try PostgresConfiguration(
            connectionString: server.connectionString(), connectTimeout: TestDeadline.event,
            queryTimeout: TestDeadline.event)
        let certificate = try await PostgresConnection.withConnection(superuser) { connection in
            // The server's account makes the key in its own folder, because no other account may read it.
            try await connection.executeScript(
                """
                COPY (SELECT) TO PROGRAM 'umask 077; openssl req -x509 -newkey rsa:2048 -nodes -days 2 \
                -subj /CN=localhost -keyout server.key -out server.crt 2>&1';
                """)
            _ = try await connection.execute("ALTER SYSTEM SET ssl = on")
            _ = try await connection.query("SELECT pg_reload_conf()")
            return try await connection.query("SELECT pg_read_file('server.crt')")[0].decode(0, as: String.self)
        }
        let root = TestCluster.newDirectory() + ".crt"
        try certificate.write(toFile: root, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: root) }
        let configuration = try PostgresConfiguration(
            connectionString: server.loopbackConnectionString() + " sslmode=verify-ca sslrootcert=\(root)",
            connectTimeout: TestDeadline.event, queryTimeout: TestDeadline.event)
        try await eventually("the server has read its settings") {
            (try? await PostgresConnection.withConnection(configuration) { _ in }) != nil
        }
        let value = try await body(server, configuration, root)
        try await server.stop()
        return value
    }

    @Test("Values larger than a TLS record, and than libpq's buffer, arrive whole in both directions")
    func large()
        async throws
    {
        try await withTLS { _, configuration, _ in
            try await PostgresConnection.withConnection(configuration) { connection in
                let isEncrypted = try await connection.query(
                    "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
                #expect(try isEncrypted[0].decode(0, as: Bool.self))
                for size in [1, 8_191, 8_192, 16_383, 16_384, 16_385, 32_768, 100_000, 5_000_000] as [Int32] {
                    let rows = try await connection.query(
                        "SELECT repeat('x', \(size)) AS text FROM generate_series(1, 5)")
                    #expect(rows.count == 5)
                    for row in rows { #expect(try row.decode("text", as: String.self).utf8.count == Int(size)) }
                    let sent = String(repeating: "y", count: Int(size))
                    let length = try await connection.query("SELECT length(\(sent)) AS length")
                    #expect(try length[0].decode("length", as: Int32.self) == size)
                }
                let many = try await connection.query("SELECT repeat('z', n % 300) FROM generate_series(1, 50000) AS n")
                #expect(many.count == 50_000)
            }
        }
    }

    @Test("A listener receives every notification of a burst at once and in order")
    func burst() async throws {
        try await withTLS { _, configuration, _ in
            try await withListener(channels: ["tls"], configuration: configuration) { _, events in
                _ = try await events.untilLive()
                try await PostgresConnection.withConnection(configuration) { connection in
                    for round in 0..<10 as Range<Int32> {
                        // One transaction, so that some megabytes arrive together.
                        _ = try await connection.query(
                            """
                            SELECT pg_notify('tls', \(round) || ' ' || n || repeat(' ', 7000))
                            FROM generate_series(1, 200) AS n
                            """)
                        let received = try await events.notifications(200)
                        let expected = (1...200).map { "\(round) \($0)" }
                        #expect(received.map { $0.payload.trimmingCharacters(in: .whitespaces) } == expected)
                    }
                }
            }
        }
    }

    @Test("The client refuses a server with another certificate")
    func untrusted() async throws {
        try await withTLS { _, _, root in
            try await withTLS { other, _, _ in
                let wrong = try PostgresConfiguration(
                    connectionString: other.loopbackConnectionString() + " sslmode=verify-ca sslrootcert=\(root)",
                    connectTimeout: TestDeadline.event)
                let error = await #expect(throws: PostgresError.self) {
                    try await PostgresConnection.withConnection(wrong) { _ in }
                }
                #expect(error?.code == .connection)
                #expect(error.map { "\($0)".contains(other.superuserPassword) } == false)
            }
        }
    }
}
