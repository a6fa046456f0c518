import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

@testable import Migrations

/// Code files under `up` and psql: higher revisions, old and new releases, and locks of writers.
@Suite(.deadline) struct CodeRevisionTests {
    private static let old = speakingFile("900_spoken", revision: 1)
    private static let new = speakingFile("900_spoken", revision: 2)

    private func spoken(_ database: TestDatabase) async throws -> Int32 {
        try await database.query("SELECT app.spoken()")[0].decode(0, as: Int32.self)
    }

    @Test("After a raised revision, `up` applies that file and every later one, but no earlier one")
    func raised() async throws {
        try await withDatabase { database in
            let before = speakingFile("900_before", revision: 1)
            let after = speakingFile("920_after", revision: 1)
            let middle = { speakingFile("910_middle", revision: $0) }
            _ = try await database.migrator(carried(and: before, middle(1), after)).up()
            let ledger = try await database.codeLedger()
            let applied = try await database.migrator(carried(and: before, middle(2), after)).up()
            #expect(applied == [middle(2), after])
            let now = try await database.codeLedger()
            for (name, row) in ledger where name < "910" {
                #expect(now[name]?.appliedAt == row.appliedAt, "\(name)")
            }
            #expect(now["910_middle"]?.revision == 2)
            #expect(now["920_after"]?.appliedAt != ledger["920_after"]?.appliedAt)
            #expect(now.values.allSatisfy { !$0.isStale })
        }
    }

    @Test("`up` of an older release keeps the newer code")
    func oldAfterNew() async throws {
        try await withDatabase { database in
            _ = try await database.migrator(carried(and: Self.new)).up()
            #expect(try await database.migrator(carried(and: Self.old)).up() == [])
            #expect(try await spoken(database) == 2)
            #expect(try await database.migrator(carried(and: Self.old)).status().isCurrent)
        }
    }

    @Test(
        "Old and new release that run `up` at the same time leave the newer code, in either order",
        arguments: [false, true])
    func together(newFirst: Bool) async throws {
        try await withDatabase { database in
            try await database.withConnection { gate in
                // Both wait for this lock. They therefore meet on a loaded machine, too.
                let key: Int64 = 0x5468_6572_6170_7942
                _ = try await gate.query("SELECT pg_advisory_lock(\(key))")
                let order = newFirst ? [Self.new, Self.old] : [Self.old, Self.new]
                async let first = database.migrator(carried(and: order[0])).up()
                async let second = database.migrator(carried(and: order[1])).up()
                _ = try await gate.query("SELECT pg_advisory_unlock(\(key))")
                _ = try await (first, second)
            }
            #expect(try await spoken(database) == 2)
            #expect(try await database.codeLedger()["900_spoken"]?.revision == 2)
            #expect(try await database.migrator(carried(and: Self.new)).up() == [])
        }
    }

    @Test("Old and new release that psql runs one after the other leave the newer code", arguments: [false, true])
    func byPsql(newFirst: Bool) async throws {
        try await withDatabase { database in
            try await withMigrationFiles([Self.old]) { old in
                try await withMigrationFiles([Self.new]) { new in
                    let first = try await database.psql("-f", newFirst ? new[0] : old[0])
                    #expect(first.status == 0, "\(first.errorOutput)")
                    let second = try await database.psql("-f", newFirst ? old[0] : new[0])
                    #expect(second.status == (newFirst ? 3 : 0))
                    if newFirst {
                        #expect(second.errorOutput.contains("revision 2 is applied; this file is revision 1"))
                    }
                }
            }
            #expect(try await spoken(database) == 2)
        }
    }

    @Test("A file that psql runs waits for a running `up`, and then sees its result", arguments: [false, true])
    func psqlMeetsUp(newByPsql: Bool) async throws {
        try await withDatabase { database in
            let byPsql = newByPsql ? Self.new : Self.old
            let byUp = newByPsql ? Self.old : Self.new
            try await withMigrationFiles([byPsql]) { files in
                try await database.withConnection { gate in
                    // `up` waits here, inside its transaction, until the table is free.
                    try await gate.executeScript("BEGIN; LOCK TABLE app.users IN SHARE ROW EXCLUSIVE MODE")
                    let waiting = codeFile(
                        "890_waits", revision: 1, "SET LOCAL lock_timeout = 0; LOCK TABLE app.users;")
                    async let applied = database.migrator(carried(and: waiting, byUp)).up()
                    try await database.untilSomeoneWaitsForALock()
                    async let run = database.psql("-f", files[0])
                    try await eventually("a session waits for a lock") {
                        try await database.query(
                            "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                        ).count == 1
                    }
                    try await gate.executeScript("ROLLBACK")
                    #expect(try await applied == [waiting, byUp])
                    #expect(try await run.status == (newByPsql ? 0 : 3))
                }
            }
            #expect(try await spoken(database) == 2)
        }
    }

    @Test("A raised file that psql runs alone makes every later file due")
    func psqlRunsOne() async throws {
        try await withDatabase { database in
            let after = speakingFile("920_after", revision: 1)
            _ = try await database.migrator(carried(and: Self.old, after)).up()
            try await withMigrationFiles([Self.new]) { files in
                let run = try await database.psql("-f", files[0])
                #expect(run.status == 0, "\(run.errorOutput)")
            }
            let migrator = try database.migrator(carried(and: Self.new, after))
            let status = try await migrator.status()
            #expect(status.missing == [after])
            #expect(status.unsigned == [Self.new])
            #expect(try await migrator.up() == [after])
            #expect(try await migrator.status() == MigrationStatus(carried: [], applied: []))
        }
    }

    @Test("`up` begins again while a writer holds a lock, and applies all files when the writer has ended")
    func lostLock() async throws {
        try await withDatabase { database in
            let memory = LogMemory()
            let hasty = codeFile(
                "900_hasty", revision: 1, "SET LOCAL lock_timeout = '1ms'; LOCK TABLE app.users;")
            let migrator = Migrator(
                configuration: try .forTests(database.url()), migrations: carried(and: hasty), logger: memory.logger
            )
            try await database.withConnection { writer in
                try await writer.executeScript("BEGIN; LOCK TABLE app.users IN ROW EXCLUSIVE MODE")
                async let applied = migrator.up(lockTimeout: TestDeadline.event)
                try await eventually("the migration begins again") { memory.text.contains("migration begins again") }
                #expect(try await database.codeLedger()["900_hasty"] == nil)
                try await writer.executeScript("COMMIT")
                #expect(try await applied == [hasty])
            }
        }
    }

    @Test(
        "`up` fails with `busy` and changes nothing if a writer holds a lock until the timeout")
    func neverFree() async throws {
        try await withDatabase { database in
            let hasty = codeFile(
                "900_hasty", revision: 1, "SET LOCAL lock_timeout = '1ms'; LOCK TABLE app.users;")
            let migrator = try database.migrator(carried(and: hasty))
            try await database.withConnection { writer in
                try await writer.executeScript("BEGIN; LOCK TABLE app.users IN ROW EXCLUSIVE MODE")
                let error = await #expect(throws: MigrationError.self) {
                    try await migrator.up(lockTimeout: .milliseconds(1))
                }
                guard case .busy = error else {
                    Issue.record("\(String(describing: error))")
                    return
                }
                try await writer.executeScript("ROLLBACK")
            }
            #expect(try await database.ledger() == fullLedger)
        }
    }
}
