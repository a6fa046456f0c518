import Foundation
import Logging
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

@testable import Migrations

extension TestDatabase {
    func migrator(
        _ migrations: [Migration] = Migration.carried, role: String = "postgres", queryTimeout: Duration = .seconds(600)
    ) throws -> Migrator {
        Migrator(
            configuration: try PostgresConfiguration(connectionString: url(role), queryTimeout: queryTimeout),
            migrations: migrations, logger: quietLogger)
    }

    /// Version and checksum of each row of the ledger.
    func ledger() async throws -> [Int: String?] {
        let rows = try await query("SELECT version, checksum FROM app.schema_migrations")
        return Dictionary(
            uniqueKeysWithValues: try rows.map {
                (Int(try $0.decode("version", as: Int32.self)), try $0.decode("checksum", as: String?.self))
            })
    }

    func exists(_ relation: String) async throws -> Bool {
        try await query("SELECT to_regclass(\(relation)) IS NOT NULL")[0].decode(0, as: Bool.self)
    }
}

/// The ledger once all carried migrations were applied by `up`.
let fullLedger: [Int: String?] = Dictionary(uniqueKeysWithValues: Migration.carried.map { ($0.version, $0.checksum) })

/// The migration that would come next, with a body of a test's own between its BEGIN and its ledger row.
func nextMigration(_ name: String, _ body: String, after count: Int = Migration.carried.count) -> Migration {
    let number = count + 1
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

/// Lends the carried migrations as files in a folder, as operators have them.
func withMigrationFiles<Result>(_ body: ([String]) async throws -> Result) async throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appending(path: "tb-migrations-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    var paths: [String] = []
    for migration in Migration.carried {
        let file = folder.appending(path: migration.filename)
        try Data(migration.sql.utf8).write(to: file)
        paths.append(file.path(percentEncoded: false))
    }
    return try await body(paths)
}
