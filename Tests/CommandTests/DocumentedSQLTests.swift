import Domain
import Foundation
import LocalPostgres
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// The SQL of `docs/operations.md` and `docs/database.md`, as each kind of role that its reader may have.
@Suite("The SQL of the documentation", .deadline) struct DocumentedSQLTests {
    /// A role that a reader may have.
    enum Reader: String, CaseIterable, Sendable {
        case superuser = "postgres"
        /// The role of a managed service: CREATEROLE, and owner of the database. It has migrated.
        case administrator = "bridge_admin"
        /// A member of `therapybridge_owner`, and nothing else.
        case member = "operator"
        case server = "therapybridge_server"
    }

    /// A block of SQL in the documentation, and who may run it.
    private struct Documented {
        /// The page without its extension.
        let page: String
        /// What the block begins with.
        let beginning: String
        /// What it does, for the table.
        let purpose: String
        /// The readers that may run it.
        ///
        /// For all others, the database refuses it with 42501.
        let readers: Set<Reader>
        /// True if row-level security hides all rows from the others instead.
        var isHidden = false
    }

    private static let owners: Set<Reader> = [.superuser, .administrator, .member]

    private static let blocks = [
        Documented(
            page: "operations", beginning: "SELECT app.drop_audit_partition", purpose: "remove audit records",
            readers: owners),
        Documented(
            page: "operations", beginning: "SELECT session_id, queued_at", purpose: "see the queue and failed sessions",
            readers: owners),
        Documented(
            page: "operations", beginning: "GRANT therapybridge_server",
            purpose: "end the connection that holds a session", readers: [.superuser, .administrator]),
        Documented(
            page: "operations", beginning: "SELECT email, role, is_active",
            purpose: "compare accounts and assignments after a restore", readers: owners, isHidden: true),
        Documented(
            page: "database", beginning: "INSERT INTO app.therapy_sessions", purpose: "create a session by hand",
            readers: owners),
        Documented(
            page: "database", beginning: "BEGIN;\nTRUNCATE app.session_list", purpose: "write the lists anew",
            readers: owners),
        Documented(
            page: "database", beginning: "BEGIN;\nSELECT set_config('app.user_id'", purpose: "act as a user",
            readers: Set(Reader.allCases)),
    ]

    /// The blocks of a page.
    private static func blocks(of page: String) throws -> [String] {
        let text = try String(contentsOf: packageRoot.appending(path: "docs/\(page).md"), encoding: .utf8)
        return text.components(separatedBy: "\n```sql\n").dropFirst().map { part in
            part.components(separatedBy: "\n```")[0]
        }
    }

    /// A cluster as on a managed service: its administrator is no superuser, and has migrated.
    private static func withManagedCluster(_ body: (TestDatabase) async throws -> Void) async throws {
        try await TestCluster.makeCluster().use(stopMode: .immediate) { cluster in
            let postgres = TestDatabase(cluster: cluster, name: "postgres")
            try await postgres.query("CREATE ROLE bridge_admin LOGIN CREATEROLE")
            try await postgres.query("CREATE DATABASE bridge OWNER bridge_admin")
            let database = TestDatabase(cluster: cluster, name: "bridge")
            let run = try await runProgram(
                builtProgram, ["migrate", "up", "--shared-cluster"],
                environment: ["DATABASE_MIGRATE_URL": database.url("bridge_admin")])
            try #require(run.status == 0, "\(run.errorOutput)")
            try await database.query("CREATE ROLE operator LOGIN IN ROLE therapybridge_owner")
            try await body(database)
        }
    }

    @Test("Each block runs as the roles that the documentation names, and is refused to all others")
    func roles() async throws {
        try await Self.withManagedCluster { database in
            for reader in Reader.allCases {
                for block in Self.blocks {
                    let found = try Self.blocks(of: block.page).filter { $0.hasPrefix(block.beginning) }
                    let sql = try #require(found.first, "\(block.beginning)")
                    #expect(found.count == 1)
                    let mayRun = block.readers.contains(reader)
                    if block.isHidden, !mayRun {
                        let rows = try await Self.rowCount(sql, as: reader, on: database)
                        #expect(rows == 0, "\(block.purpose) as \(reader)")
                        continue
                    }
                    let refusal = try await Self.run(sql, as: reader, on: database)
                    #expect(refusal == (mayRun ? nil : "42501"), "\(block.purpose) as \(reader)")
                }
            }
        }
        let head = [
            "to …", "superuser", "CREATEROLE that has migrated", "member of `therapybridge_owner`",
            "`therapybridge_server`",
        ]
        let rows = Self.blocks.filter { $0.page == "operations" }.map { block in
            [block.purpose] + Reader.allCases.map { block.readers.contains($0) ? "yes" : "no" }
        }
        try GeneratedPart(name: "sql-readers").hold(table(head, rows))
    }

    @Test("Each block of the two pages has its case here")
    func complete() throws {
        for page in ["operations", "database"] {
            for block in try Self.blocks(of: page) {
                #expect(Self.blocks.contains { $0.page == page && block.hasPrefix($0.beginning) }, "\(block)")
            }
        }
    }

    /// Runs a block with real values in the place of its dots.
    ///
    /// - Returns: The SQLSTATE of a refusal, or nil.
    private static func run(_ sql: String, as reader: Reader, on database: TestDatabase) async throws -> String? {
        let patient = try await database.addUser(.patient)
        let therapist = try await database.addUser(.therapist)
        let signIn = try await database.addSignIn(of: patient)
        if sql.contains("pg_terminate_backend") { return try await end(sql, as: reader, on: database) }
        var values = sql.contains("set_config") ? ["\(patient)", "\(signIn)"] : ["\(patient)", "\(therapist)"]
        // A month that has ended, with a record.
        try await database.query("INSERT INTO app.audit_log (at, action) VALUES ('2001-02-17Z', 'test.old')")
        try await database.query("DO $$ BEGIN WHILE app.add_audit_partition() IS NOT NULL LOOP NULL; END LOOP; END $$")
        let sql = sql.replacing("'2026-11-01'", with: "'2001-02-17'")
        var text = ""
        for part in sql.components(separatedBy: "'…'") {
            text += text.isEmpty ? part : "'\(values.removeFirst())'\(part)"
        }
        return try await refusal {
            try await database.withConnection(as: reader.rawValue) { try await $0.executeScript(text) }
        }
    }

    /// How many rows the queries of a block show.
    private static func rowCount(_ sql: String, as reader: Reader, on database: TestDatabase) async throws -> Int {
        try await database.withConnection(as: reader.rawValue) { connection in
            var count = 0
            for statement in sql.components(separatedBy: ";") where !statement.allSatisfy(\.isWhitespace) {
                count += try await connection.query(PostgresQuery(unescaped: statement)).count
            }
            return count
        }
    }

    /// Ends the connection of a pipeline that holds a session, by the statements of the page.
    private static func end(_ sql: String, as reader: Reader, on database: TestDatabase) async throws -> String? {
        let session = try await database.addSession(of: try await database.addUser(.patient))
        return try await database.withConnection(as: "therapybridge_pipeline") { holder in
            try await holder.executeScript("BEGIN; SELECT app.report_progress('\(session)', 'transcribing', 20)")
            let pid = try await holder.query("SELECT pg_backend_pid()")[0].decode(0, as: Int32.self)
            let statements = sql.components(separatedBy: ";\n")
            let waiter = Task {
                try await database.query("SELECT app.report_progress(\(session.rawValue), 'transcribing', 30)")
            }
            try await database.untilSomeoneWaitsForALock()
            let refusal = try await refusal {
                try await database.withConnection(as: reader.rawValue) { connection in
                    for statement in statements {
                        guard statement.contains("pg_stat_activity") else {
                            try await connection.executeScript(statement.replacing("…", with: "\(pid)"))
                            continue
                        }
                        let found = try await connection.query(PostgresQuery(unescaped: statement))
                            .map { try $0.decode("pid", as: Int32.self) }
                        #expect(found == [pid], "\(reader)")
                    }
                }
            }
            if refusal != nil { try await holder.executeScript("ROLLBACK") }
            _ = try await waiter.value
            return refusal
        }
    }

    private static func refusal(_ body: () async throws -> Void) async throws -> String? {
        do {
            try await body()
            return nil
        } catch let error as PostgresError {
            guard let state = error.sqlState else { throw error }
            return state.code
        }
    }
}
