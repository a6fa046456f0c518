import Domain
import Foundation
import LocalPostgres
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite("The health of the server", .deadline)
struct HealthRouteTests {
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

@Suite("The page", .deadline)
struct PageTests {
    @Test("The page and its assets have their content types, entity tags and a strict policy")
    func page() async throws {
        try await withServer { server in
            let page = try await server.request(
                .GET, "/", headers: ["Accept": "text/html,application/xhtml+xml,*/*;q=0.8"])
            #expect(page.status == 200)
            #expect(page.headers["Content-Type"] == ["text/html; charset=utf-8"])
            #expect(page.text.contains("TherapyBridge"))
            #expect(!page.text.contains("{{"))
            // Nothing inline: the policy would block it.
            #expect(page.text.firstMatch(of: /<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=/.ignoresCase()) == nil)

            var paths = ["/", "/favicon.ico"]
            paths += page.text.matches(of: /(?:src|href)="(\/[^"]+)"/).map { String($0.1) }
            #expect(paths.contains("/assets/app.js"))
            #expect(paths.contains("/assets/app.css"))
            // The imports of the modules.
            let script = try await server.request(.GET, "/assets/app.js").text
            paths += script.matches(of: /from "\.\/([a-z-]+\.js)"/).map { "/assets/\($0.1)" }
            for path in Set(paths) {
                let response = try await server.request(.GET, path)
                #expect(response.status == 200, "\(path)")
                #expect(!response.body.isEmpty)
                if path.hasSuffix(".js") {
                    #expect(response.headers["Content-Type"] == ["text/javascript; charset=utf-8"])
                }
                if path.hasSuffix(".css") { #expect(response.headers["Content-Type"] == ["text/css; charset=utf-8"]) }
                let tag = try #require(response.headers.first(name: "ETag"))
                let again = try await server.request(.GET, path, headers: ["If-None-Match": tag])
                #expect(again.status == 304, "\(path)")
                #expect(again.body.isEmpty)
                #expect(try await server.request(.GET, path, headers: ["If-None-Match": "\"x\""]).status == 200)
            }
        }
    }

    @Test("Every response forbids a browser what the page does not need")
    func policy() async throws {
        try await withClinic { clinic in
            for path in [
                "/", "/assets/app.js", "/health", "/nothing", "/api/sessions",
                "/api/sessions/\(clinic.session)/recording",
            ] {
                let response = try await clinic.request(.GET, path, as: .patient)
                let policy = try #require(response.headers.first(name: "Content-Security-Policy"), "\(path)")
                let rules = policy.split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces) }
                for rule in ["default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
                    #expect(rules.contains(rule), "\(path): \(rule)")
                }
                #expect(!policy.contains("unsafe"))
                #expect(!policy.contains("*"))
                #expect(response.headers["X-Content-Type-Options"] == ["nosniff"])
                #expect(response.headers["Referrer-Policy"] == ["no-referrer"])
            }
        }
    }
}
