import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

@testable import Migrations

/// `up`, `status` and what they leave in a database.
@Suite(.deadline) struct MigratorTests {
    @Test("on a bare database all is missing, and asking changes nothing")
    func bareStatus() async throws {
        try await withBareDatabase { database in
            let status = try await database.migrator().status()
            #expect(status.missing == Migration.carried)
            #expect(!status.isCurrent)
            #expect(try await database.exists("app.schema_migrations") == false)
        }
    }

    @Test("up applies all in order and enters their checksums; a second up does nothing")
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

    @Test("up goes on where a database stands")
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

    @Test("files that psql ran, in order, are known: up runs none of them and enters their checksums")
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

    @Test("a step that is run twice fails the second time and changes nothing", arguments: carriedSteps.indices)
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

    @Test("code that is run again, one file after the other, changes nothing, and says nothing")
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

    @Test("a step that comes before its turn fails and changes nothing", arguments: carriedSteps.indices.dropFirst())
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

    @Test("code that comes before the steps fails and changes nothing", arguments: carriedCode.indices)
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
        "an applied file with other contents is refused, by name, before anything is applied", arguments: [false, true])
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

    @Test("a step that a newer binary applied is fine")
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

    @Test("a file that fails is named, and leaves nothing, nor do those before it; its mended form is applied")
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

    @Test("a migration may take longer than a query may")
    func slow() async throws {
        try await withDatabase { database in
            // Sleeps for longer than the configuration allows a query, so that the limit would certainly strike.
            let slow = nextStep("more", "SELECT pg_sleep(11);")
            let migrator = try database.migrator(carried(and: slow), queryTimeout: .seconds(10))
            #expect(try await migrator.up() == [slow])
        }
    }
}

extension TestDatabase {
    /// All objects of the schema `app`, and the ledger: equal when nothing was changed.
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
