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
            try await expectHealthy(server, "/health/ready")
            let rows = try await server.database.query(
                "DELETE FROM app.schema_migrations WHERE version = (SELECT max(version) FROM app.schema_migrations) RETURNING version, name"
            )
            expectProblem(try await server.request(.GET, "/health/ready"), 503, "unavailable")
            try await expectHealthy(server, "/health")
            try await expectHealthy(server, "/health/live")

            let row = try #require(rows.first)
            try await server.database.query(
                """
                INSERT INTO app.schema_migrations (version, name)
                VALUES (\(try row.decode("version", as: Int32.self)), \(try row.decode("name", as: String.self)))
                """)
            try await expectHealthy(server, "/health/ready")
            // A newer migration of a newer binary does no harm.
            try await server.database.query("INSERT INTO app.schema_migrations (version, name) VALUES (9999, 'later')")
            try await expectHealthy(server, "/health/ready")
        }
    }

    @Test("While the database is down, the server is not ready and other routes answer 503")
    func database() async throws {
        try await withOwnCluster { database in
            try await withServer(over: database, databaseTimeouts: .standard) { server in
                let clinic = try await Clinic(server)
                try await expectHealthy(server, "/health/ready")
                try await database.cluster.stop(mode: .immediate)
                expectProblem(try await server.request(.GET, "/health/ready"), 503, "unavailable")
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
                try await eventually("the server is ready again") {
                    try await server.request(.GET, "/health/ready").status == 200
                }
                #expect(try await clinic.request(.GET, of: "/status", as: .patient).status == 200)
            }
        }
    }
}
