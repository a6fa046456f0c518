import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

@testable import Migrations

/// The methods `up` and `status`, and their effect on a database.
@Suite(.deadline) struct MigratorTests {
    @Test("On a bare database, all files are missing, and `status` changes nothing")
    func bareStatus() async throws {
        try await withBareDatabase { database in
            let status = try await database.migrator().status()
            #expect(status.missing == Migration.carried)
            #expect(!status.isCurrent)
            #expect(try await database.exists("app.schema_migrations") == false)
        }
    }

    @Test("`up` applies all files and records their checksums; a second `up` does nothing")
    func upTwice() async throws {
        try await withBareDatabase { database in
            #expect(try await database.migrator().up() == Migration.carried)
            #expect(try await database.ledger() == fullLedger)
            let status = try await database.migrator().status()
            #expect(status == MigrationStatus(carried: [], applied: []))
            #expect(try await database.migrator().up() == [])
            #expect(try await database.ledger() == fullLedger)
        }
    }

    @Test("`up` continues after the files that are applied")
    func goesOn() async throws {
        try await withBareDatabase { database in
            let some = Array(Migration.carried.prefix(3))
            let first = try await database.migrator(some).up()
            let second = try await database.migrator().up()
            #expect(first == some)
            #expect(second == Array(Migration.carried.dropFirst(3)))
            #expect(try await database.ledger() == fullLedger)
        }
    }

    @Test("`up` runs no file that psql ran, and records its checksum")
    func psqlThenUp() async throws {
        try await withBareDatabase { database in
            try await withMigrationFiles { files in
                for file in files {
                    let run = try await database.psql("-f", file)
                    try #require(run.status == 0, "\(file): \(run.errorOutput)")
                }
            }
            let status = try await database.migrator().status()
            #expect(status.isCurrent)
            #expect(status.unsigned == Migration.carried)
            #expect(try await database.ledger().values.allSatisfy { $0 == nil })
            #expect(try await database.migrator().up() == [])
            #expect(try await database.ledger() == fullLedger)
        }
    }

    @Test("A step that runs a second time fails and changes nothing", arguments: carriedSteps.indices)
    func twiceByPsql(index: Int) async throws {
        try await withDatabase { database in
            let before = try await database.fingerprint()
            try await withMigrationFiles(carriedSteps) { files in
                let run = try await database.psql("-f", files[index])
                #expect(run.status == 3, "ON_ERROR_STOP")
                #expect(run.errorOutput.contains("ERROR"))
            }
            #expect(try await database.fingerprint() == before)
        }
    }

    @Test("Code files that run again change nothing and print nothing")
    func codeAgainByPsql() async throws {
        try await withDatabase { database in
            let before = try await database.fingerprint()
            try await withMigrationFiles(carriedCode) { files in
                for file in files {
                    let run = try await database.psql("-q", "-f", file)
                    #expect(run.status == 0, "\(file): \(run.errorOutput)")
                    #expect(run.errorOutput == "")
                }
            }
            #expect(try await database.migrator().up() == [])
            #expect(try await database.fingerprint() == before)
        }
    }

    @Test("A step that runs too early fails and changes nothing", arguments: carriedSteps.indices.dropFirst())
    func outOfOrder(index: Int) async throws {
        try await withBareDatabase { database in
            let before = try await database.fingerprint()
            try await withMigrationFiles(carriedSteps) { files in
                let run = try await database.psql("-f", files[index])
                #expect(run.status == 3)
            }
            #expect(try await database.fingerprint() == before)
        }
    }

    @Test("A code file that runs before the steps fails and changes nothing", arguments: carriedCode.indices)
    func codeOutOfOrder(index: Int) async throws {
        try await withBareDatabase { database in
            let before = try await database.fingerprint()
            try await withMigrationFiles(carriedCode) { files in
                let run = try await database.psql("-f", files[index])
                #expect(run.status == 3)
            }
            #expect(try await database.fingerprint() == before)
        }
    }

    @Test(
        "An edited file is refused by name, before anything is applied", arguments: [false, true])
    func edited(isCode: Bool) async throws {
        try await withDatabase { database in
            var migrations = Migration.carried
            let index = try #require(migrations.indices.last { migrations[$0].isCode == isCode })
            let filename = String(migrations[index].filename.split(separator: "/").last ?? "")
            migrations[index] = migration(filename, migrations[index].sql + "-- an afterthought\n")
            migrations.append(codeFile("900_more", revision: 1, "CREATE TABLE app.more ();"))
            let migrator = try database.migrator(migrations)
            #expect(try await migrator.status().edited == [migrations[index]])
            let error = await #expect(throws: MigrationError.self) { try await migrator.up() }
            guard case .edited(let files) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(files == [migrations[index].filename])
            #expect(error.map { "\($0)" }?.contains(migrations[index].filename) == true)
            #expect(try await database.exists("app.more") == false)
            #expect(try await database.ledger() == fullLedger)
        }
    }

    @Test("A step that a newer binary applied is no error")
    func newer() async throws {
        try await withDatabase { database in
            let newer = nextStep("more", "CREATE TABLE app.more ();")
            _ = try await database.migrator(carried(and: newer)).up()
            let status = try await database.migrator().status()
            #expect(status.isCurrent)
            #expect(status.newer.map(\.kind) == [newer.kind])
            #expect(try await database.migrator().up() == [])
        }
    }

    @Test("A file that fails is named and rolls back the run; its corrected form is applied")
    func failing() async throws {
        try await withBareDatabase { database async throws in
            let before = try await database.fingerprint()
            let broken = nextStep("more", "CREATE TABLE app.more (); SELECT 1 / 0;")
            let error = await #expect(throws: MigrationError.self) {
                try await database.migrator(carried(and: broken)).up()
            }
            guard case .failed(let filename, let cause) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(filename == broken.filename)
            #expect((cause as? PostgresError)?.sqlState == "22012")
            #expect(error.map { "\($0)" }?.contains(broken.filename) == true)
            #expect(try await database.fingerprint() == before)

            let mended = nextStep("more", "CREATE TABLE app.more ();")
            let all = carried(and: mended)
            #expect(try await database.migrator(all).up() == all)
            #expect(try await database.exists("app.more"))
        }
    }

    @Test("A migration may run longer than a query")
    func slow() async throws {
        try await withDatabase { database in
            // The file sleeps longer than the configuration allows a query, so that the limit would end it.
            let slow = nextStep("more", "SELECT pg_sleep(11);")
            let migrator = try database.migrator(carried(and: slow), queryTimeout: .seconds(10))
            #expect(try await migrator.up() == [slow])
        }
    }
}

extension TestDatabase {
    /// All objects of the schema `app`, and the ledger.
    ///
    /// Two equal values mean that nothing changed.
    func fingerprint() async throws -> [String] {
        let objects = try await query(
            """
            SELECT relname::text || ' ' || oid || ' ' || relnatts FROM pg_class
            WHERE relnamespace = to_regnamespace('app')
            UNION ALL SELECT proname::text || ' ' || oid || ' ' || md5(prosrc) FROM pg_proc
            WHERE pronamespace = to_regnamespace('app')
            UNION ALL SELECT tgname::text || ' ' || oid FROM pg_trigger WHERE NOT tgisinternal
            UNION ALL SELECT nspname::text || coalesce(nspacl::text, '') FROM pg_namespace
            ORDER BY 1
            """
        ).map { try $0.decode(0, as: String.self) }
        guard try await exists("app.schema_migrations") else { return objects }
        return objects + [try await ledger().sorted { $0.key < $1.key }.description]
    }
}
