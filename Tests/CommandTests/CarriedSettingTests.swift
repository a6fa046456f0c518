import AsyncHTTPClient
import Domain
import Foundation
import NIOCore
import Postgres
import PostgresTestSupport
import Synchronization
import TestSupport
import Testing

/// Settings of PostgreSQL that a site's database or role carries, and that must not reach the program.
@Suite(.deadline) struct CarriedSettingTests {
    /// Settings, each of which broke the server or changed its answers when it reached a connection.
    static let settings = [
        "row_security = off", "default_transaction_read_only = on", "idle_session_timeout = '100ms'",
        "default_transaction_isolation = 'serializable'", "default_transaction_isolation = 'repeatable read'",
        "search_path = shadow, pg_catalog", "statement_timeout = '1ms'", "DateStyle = 'German, DMY'",
        "TimeZone = 'Asia/Kolkata'", "IntervalStyle = 'sql_standard'", "jit = on",
        "plan_cache_mode = force_custom_plan", "transform_null_equals = on", "bytea_output = escape",
        "extra_float_digits = -15", "standard_conforming_strings = off", "quote_all_identifiers = on",
        "client_encoding = 'LATIN1'", "lock_timeout = '1ms'", "enable_indexscan = off",
        "default_transaction_deferrable = on", "synchronous_commit = off", "client_min_messages = error",
    ]

    /// Where a setting stands.
    enum Place: String, CaseIterable {
        case database, role

        func statement(_ setting: String, _ database: TestDatabase, role: String) -> String {
            switch self {
            case .database: "ALTER DATABASE \(database.name) SET \(setting)"
            case .role: "ALTER ROLE \(role) IN DATABASE \(database.name) SET \(setting)"
            }
        }
    }

    @Test(
        "The server serves and streams whatever the database or the role carries", arguments: settings, Place.allCases)
    func serves(setting: String, place: Place) async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient, email: "p@test.example")
            let session = try await database.addSession(of: patient)
            let program = Program.serving(database)
            let token = try await program.lines("token", "--email", "p@test.example")[0]
            try await database.withConnection { connection in
                // Functions that would take the place of PostgreSQL's.
                try await connection.executeScript(
                    """
                    CREATE SCHEMA shadow; GRANT USAGE ON SCHEMA shadow TO PUBLIC;
                    CREATE FUNCTION shadow.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'epoch'::timestamptz $$;
                    CREATE FUNCTION shadow.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 'shadow' $$;
                    \(place.statement(setting, database, role: "therapybridge_server"))
                    """)
            }
            let (_, end) = try await program.serve(["--no-worker"]) { server in
                #expect(try await server.get("/health/ready").status == 200)
                let answer = try await server.get("/api/sessions/\(session)", token: token)
                #expect(answer.status == 200, "\(answer.body)")
                let stream = try await server.open("/api/sessions/\(session)/status/stream", token: token)
                try await database.report(session, .transcribing, 20)
                var text = ""
                for try await chunk in stream.body {
                    text += String(buffer: chunk)
                    if text.contains("\"transcribing\"") { break }
                }
                server.terminate()
            }
            #expect(end.status == 0)
            #expect(!end.log.contains("not listening"), "the connection of the listener ended")
            #expect(
                !end.log.contains("\"level\":\"error\""),
                "\(end.log.split(separator: "\n").filter { $0.contains("error") })")
        }
        try Self.observed(setting, place)
    }

    /// The cases that have passed.
    private static let passed = Mutex<Set<String>>([])

    /// Notes that a case has passed.
    ///
    /// The last one compares the table of the documentation.
    private static func observed(_ setting: String, _ place: Place) throws {
        let count = passed.withLock { passed in
            passed.insert("\(setting) \(place)")
            return passed.count
        }
        guard count == settings.count * Place.allCases.count else { return }
        let isCovered = passed.withLock { passed in
            settings.map { setting in
                [setting] + Place.allCases.map { passed.contains("\(setting) \($0)") ? "serves and streams" : "fails" }
            }
        }
        try GeneratedPart(name: "carried-settings").hold(
            table(
                ["carried setting", "by the database", "by the role"], isCovered.map { ["`\($0[0])`"] + $0.dropFirst() }
            ))
    }

    @Test("Migrations and accounts work whatever the database carries", arguments: settings)
    func operates(setting: String) async throws {
        try await withBareDatabase { database in
            try await database.query(
                PostgresQuery(unescaped: Place.database.statement(setting, database, role: "postgres")))
            let program = Program(environment: ["DATABASE_MIGRATE_URL": database.url(), "LOG_LEVEL": "error"])
            #expect(try await program.lines("migrate", "up").first == "0001_schema.sql")
            let id = try await program.lines(
                "user", "add", "--email", "a@test.example", "--name", "A", "--role", "admin")
            #expect(id.count == 1)
            #expect(try await program.lines("migrate", "validate") == [])
        }
    }
}
