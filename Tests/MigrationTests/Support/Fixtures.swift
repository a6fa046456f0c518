import Foundation
import Logging
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

@testable import Migrations

extension TestDatabase {
    func migrator(
        _ migrations: [Migration] = Migration.carried, role: String = "postgres",
        queryTimeout: Duration = TestDeadline.event
    ) throws -> Migrator {
        Migrator(
            configuration: try PostgresConfiguration(connectionString: url(role), queryTimeout: queryTimeout),
            migrations: migrations, logger: quietLogger)
    }

    /// The file name and the checksum of each row of the ledger.
    func ledger() async throws -> [String: String?] {
        var ledger: [String: String?] = [:]
        for row in try await query("SELECT version, name, checksum FROM app.schema_migrations") {
            let digits = "\(try row.decode("version", as: Int32.self))"
            let name = String(repeating: "0", count: max(0, 4 - digits.count)) + digits
            ledger["\(name)_\(try row.decode("name", as: String.self)).sql"] =
                try row.decode("checksum", as: String?.self)
        }
        for row in try await query("SELECT name, checksum FROM app.schema_code") {
            ledger["code/\(try row.decode("name", as: String.self)).sql"] = try row.decode("checksum", as: String?.self)
        }
        return ledger
    }

    /// The revision of each code file in the ledger, and the time of its application.
    func codeLedger() async throws -> [String: (revision: Int, appliedAt: String, isStale: Bool)] {
        let rows = try await query(
            "SELECT name, revision, applied_at::text AS applied_at, is_stale FROM app.schema_code")
        return Dictionary(
            uniqueKeysWithValues: try rows.map { row in
                (
                    try row.decode("name", as: String.self),
                    (
                        Int(try row.decode("revision", as: Int32.self)), try row.decode("applied_at", as: String.self),
                        try row.decode("is_stale", as: Bool.self)
                    )
                )
            })
    }

    func exists(_ relation: String) async throws -> Bool {
        try await query("SELECT to_regclass(\(relation)) IS NOT NULL")[0].decode(0, as: Bool.self)
    }
}

/// The ledger after `up` has applied all files of the binary.
let fullLedger: [String: String?] = Dictionary(
    uniqueKeysWithValues: Migration.carried.map { ($0.filename, $0.checksum) })

/// The steps of the binary.
let carriedSteps = Migration.carried.filter { !$0.isCode }
/// The code files of the binary.
let carriedCode = Migration.carried.filter { $0.isCode }

/// Makes the next step, with a body of the test's own between BEGIN and the ledger row.
func nextStep(_ name: String, _ body: String) -> Migration {
    let number = carriedSteps.count + 1
    let digits = String(repeating: "0", count: 4 - String(number).count) + "\(number)"
    return migration(
        "\(digits)_\(name).sql",
        """
        BEGIN;
        SET LOCAL ROLE therapybridge_owner;
        \(body)
        INSERT INTO app.schema_migrations (version, name) VALUES (\(number), '\(name)');
        COMMIT;
        """)
}

/// Makes a code file of the test's own, which comes after all code files of the binary.
func codeFile(_ name: String, revision: Int, _ body: String) -> Migration {
    migration(
        "\(name).sql",
        """
        -- A file of a test.
        -- revision: \(revision)

        BEGIN;
        SET LOCAL lock_timeout = '600s';
        SET LOCAL ROLE therapybridge_owner;
        DO $$ BEGIN PERFORM app.enter_code('\(name)', \(revision)); END $$;
        \(body)
        COMMIT;
        """)
}

/// Makes a code file with a function that returns the revision in the database: `SELECT app.NAME()`.
func speakingFile(_ name: String, revision: Int) -> Migration {
    codeFile(
        name, revision: revision,
        """
        CREATE OR REPLACE FUNCTION app.\(name.drop { $0.isNumber || $0 == "_" })() RETURNS integer
        LANGUAGE sql AS 'SELECT \(revision)';
        """)
}

/// The migrations of the binary and some more, in the order of application.
func carried(and more: Migration...) -> [Migration] {
    let all = Migration.carried + more
    return all.filter { !$0.isCode } + all.filter { $0.isCode }
}

/// Lends migrations as files in a folder, in the form that operators have.
func withMigrationFiles<Result>(
    _ migrations: [Migration] = Migration.carried, _ body: ([String]) async throws -> Result
) async throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appending(path: "tb-migrations-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: folder.appending(path: "code"), withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    var paths: [String] = []
    for migration in migrations {
        let file = folder.appending(path: migration.filename)
        try Data(migration.sql.utf8).write(to: file)
        paths.append(file.path(percentEncoded: false))
    }
    return try await body(paths)
}
