import App
import Domain
import Foundation
import LocalPostgres
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct HealthRouteTests {
    private func expectHealthy(
        _ server: TestServer, _ path: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let response = try await server.request(.GET, path)
        #expect(response.status == 200, "\(path)", sourceLocation: sourceLocation)
        #expect(response.text == #"{"status":"healthy"}"#, "\(path)", sourceLocation: sourceLocation)
    }

    /// Waits until the server says whether it is ready: an answer counts for a second.
    private func expectReady(_ server: TestServer, _ isReady: Bool = true) async throws {
        try await eventually(isReady ? "the server is ready" : "the server is not ready") {
            try await server.request(.GET, "/health/ready").status == (isReady ? 200 : 503)
        }
        if isReady { return try await expectHealthy(server, "/health/ready") }
        expectProblem(try await server.request(.GET, "/health/ready"), 503, "unavailable")
    }

    @Test("The health routes answer without a token")
    func healthy() async throws {
        try await withServer { server in
            for path in ["/health", "/health/live", "/health/ready"] { try await expectHealthy(server, path) }
        }
    }

    @Test("The server is not ready while the schema lacks a migration of the binary")
    func schema() async throws {
        try await withServer { server in
            try await server.database.query(
                "ALTER TABLE app.schema_migrations RENAME COLUMN version TO hidden")
            try await server.database.query(
                "ALTER TABLE app.schema_migrations RENAME COLUMN hidden TO version")
            try await expectReady(server)
            let rows = try await server.database.query(
                "DELETE FROM app.schema_migrations WHERE version = (SELECT max(version) FROM app.schema_migrations) RETURNING version, name"
            )
            try await expectReady(server, false)
            try await expectHealthy(server, "/health")
            try await expectHealthy(server, "/health/live")

            let row = try #require(rows.first)
            try await server.database.query(
                """
                INSERT INTO app.schema_migrations (version, name)
                VALUES (\(try row.decode("version", as: Int32.self)), \(try row.decode("name", as: String.self)))
                """)
            try await expectReady(server)
            // A newer migration of a newer binary does no harm.
            try await server.database.query("INSERT INTO app.schema_migrations (version, name) VALUES (9999, 'later')")
            try await expectReady(server)
        }
    }

    @Test("While the database is down, the server is not ready and other routes answer 503")
    func database() async throws {
        try await withOwnCluster { database in
            try await withServer(over: database, databaseTimeouts: .standard) { server in
                let clinic = try await Clinic(server)
                try await expectReady(server)
                try await database.cluster.stop(mode: .immediate)
                try await expectReady(server, false)
                try await expectHealthy(server, "/health/live")
                try await expectHealthy(server, "/health")
                for path in [
                    "/api/auth/me", "/api/sessions", "/api/sessions/\(clinic.session)",
                    "/api/sessions/\(clinic.session)/status",
                ] {
                    expectProblem(try await clinic.request(.GET, path, as: .patient), 503, "unavailable", "\(path)")
                }
                let upload = Upload(patient: clinic.id(.patient), file: .wav)
                expectProblem(try await clinic.upload(upload, as: .patient), 503, "unavailable")
                expectProblem(
                    try await clinic.post("/api/auth/login", #"{"email":"a@b","password":"12345678"}"#, as: nil), 503,
                    "unavailable")
                #expect(try clinic.storedFiles() == [])

                try await database.cluster.start()
                try await expectReady(server)
                #expect(try await clinic.request(.GET, of: "/status", as: .patient).status == 200)
            }
        }
    }

    // The probe of a load balancer waits a few seconds. The answer once took as long as a request waits for a connection.
    @Test("While PostgreSQL refuses connections, both ports say at once that the server is not ready")
    func refusal() async throws {
        let log = LogMemory()
        let port = try freePort()
        var timeouts = DatabaseTimeouts.forTests
        timeouts.borrow = .seconds(3600)
        try await withOwnCluster { [timeouts] database in
            try await withServer(
                over: database, ["METRICS_PORT": "\(port)"], databaseTimeouts: timeouts, log: log
            ) { server in
                try await expectReady(server)
                try await database.cluster.stop(mode: .immediate)
                try await expectReady(server, false)
                let details = try await server.at(port: port).request(.GET, "/health/ready")
                #expect(details.status == 503)
                try await database.cluster.start()
                try await expectReady(server)
            }
        }
        #expect(log.warnings.contains { $0.contains("not ready") && $0.contains("connect") })
    }

    @Test("While PostgreSQL is silent, the answer comes within its time, and the log says what is silent")
    func silence() async throws {
        let log = LogMemory()
        var timeouts = DatabaseTimeouts.forTests
        timeouts.readiness = .milliseconds(200)
        try await withDatabase { [timeouts] database in
            try await withServer(over: database, databaseTimeouts: timeouts, log: log) { server in
                try await database.withConnection { connection in
                    try await connection.withTransaction { connection in
                        try await connection.execute("LOCK TABLE app.schema_migrations")
                        try await expectReady(server, false)
                    }
                }
                try await expectReady(server)
            }
        }
        #expect(log.warnings.contains { $0.contains("the database has not answered within 0.2 seconds") })
    }

    @Test("Without the folder of recordings the server is not ready, and the log names the setting")
    func folder() async throws {
        let log = LogMemory()
        try await withServer(log: log) { server in
            try FileManager.default.removeItem(at: server.uploads)
            try await expectReady(server, false)
            try FileManager.default.createDirectory(at: server.uploads, withIntermediateDirectories: true)
            try await expectReady(server)
        }
        #expect(log.warnings.contains { $0.contains("not ready") && $0.contains("UPLOAD_DIR") })
    }

    @Test("While the audit log takes no records, the server is not ready, and its question leaves none behind")
    func audit() async throws {
        let log = LogMemory()
        try await withServer(log: log) { server in
            try await expectReady(server)
            #expect(try await server.database.audit("true").isEmpty)
            try await server.database.query(
                "ALTER TABLE app.audit_log ADD CONSTRAINT closed CHECK (action = 'none') NOT VALID")
            try await expectReady(server, false)
            try await server.database.query("ALTER TABLE app.audit_log DROP CONSTRAINT closed")
            try await expectReady(server)
        }
        #expect(log.warnings.contains { $0.contains("the audit log cannot be written") })
    }

    @Test("A server whose role has lost its rights is not ready")
    func rights() async throws {
        let role = "tb_role_\(UUID().uuidString.prefix(8).lowercased())"
        try await withDatabase { database in
            try await database.withConnection {
                try await $0.executeScript("CREATE ROLE \(role) LOGIN IN ROLE therapybridge_server")
            }
            try await withServer(over: database, ["DATABASE_URL": database.url(role)]) { server in
                try await expectReady(server)
                // The role still reads the ledger.
                try await database.withConnection {
                    try await $0.executeScript(
                        """
                        GRANT USAGE ON SCHEMA app TO \(role);
                        GRANT SELECT ON app.schema_migrations, app.schema_code TO \(role);
                        REVOKE therapybridge_server FROM \(role)
                        """)
                }
                try await expectReady(server, false)
            }
            try await database.withConnection {
                try await $0.executeScript("DROP OWNED BY \(role); DROP ROLE \(role)")
            }
        }
    }

    @Test("Many questions at once cost one look at the database")
    func crowd() async throws {
        try await withServer(["DATABASE_POOL_SIZE": "1"]) { server in
            try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<100 {
                    group.addTask { Int(try await server.request(.GET, "/health/ready").status) }
                }
                for try await status in group { #expect(status == 200) }
            }
        }
    }
}
