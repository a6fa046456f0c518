import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// The commands `migrate up`, `migrate status` and `migrate validate`.
@Suite(.deadline) struct MigrateTests {
    @Test("`up` brings a bare database to the present schema, and prints only the file names")
    func wholeWay() async throws {
        try await withBareDatabase { database in
            let program = Program(environment: ["DATABASE_MIGRATE_URL": database.url(), "LOG_LEVEL": "error"])
            let planned = try await program.lines("migrate", "up", "--dry-run")
            #expect(planned.first == "0001_schema.sql")
            #expect(planned == planned.sorted())
            #expect(planned.count >= 6)
            #expect(try await program.lines("migrate", "status") == planned.map { "missing  \($0)" })
            let before = try await program.run("migrate", "validate")
            #expect(before.status == 1)
            #expect(before.output == "")
            #expect(before.errorLines.count == 1)
            for file in planned { #expect(before.errorOutput.contains(file)) }

            #expect(try await program.lines("migrate", "up") == planned)

            #expect(try await program.lines("migrate", "up") == [])
            #expect(try await program.lines("migrate", "up", "--dry-run") == [])
            #expect(try await program.lines("migrate", "status") == planned.map { "applied  \($0)" })
            let after = try await program.run("migrate", "validate")
            #expect(after.status == 0)
            #expect(after.output == "")
            #expect(after.errorOutput == "")
        }
    }

    @Test("`validate` and `up` name an edited migration and give status 1")
    func edited() async throws {
        try await withDatabase { database in
            try await database.query("UPDATE app.schema_migrations SET checksum = 'other' WHERE version = 2")
            let program = Program(environment: ["DATABASE_MIGRATE_URL": database.url()])
            for command in ["validate", "up"] {
                let run = try await program.run("migrate", command)
                #expect(run.status == 1)
                #expect(run.output == "")
                #expect(run.errorLines.count == 1)
                #expect(run.errorOutput.contains("0002_users.sql"))
            }
            #expect(try await program.lines("migrate", "status").contains("edited   0002_users.sql"))
        }
    }

    @Test("A newer migration is shown by `status` and is no error for `validate`")
    func newer() async throws {
        try await withDatabase { database in
            try await database.query("INSERT INTO app.schema_migrations (version, name) VALUES (9999, 'of_the_future')")
            let program = Program(environment: ["DATABASE_MIGRATE_URL": database.url()])
            #expect(try await program.run("migrate", "validate").status == 0)
            #expect(try await program.lines("migrate", "status").last == "newer    9999 of_the_future")
        }
    }

    @Test("`up` and `roles` refuse a cluster with another installation with status 78, unless it is meant")
    func sharedCluster() async throws {
        try await withDatabase { _ in
            try await withBareDatabase { database in
                // The tests' cluster says that it is shared. These connections say that it is not.
                let url = database.url() + " options='-c therapybridge.shared_cluster=off'"
                let program = Program(environment: ["DATABASE_MIGRATE_URL": url])
                for command in ["up", "roles"] {
                    let run = try await program.run("migrate", command)
                    #expect(run.status == 78)
                    #expect(run.output == "")
                    #expect(run.errorLines.count == 1, "\(run.errorOutput)")
                    let line = run.errorLines.last ?? ""
                    #expect(line.hasPrefix("therapybridge: DATABASE_MIGRATE_URL: "), "\(line)")
                    #expect(line.contains(/database "[a-z0-9_]+"/), "\(line)")
                    #expect(line.contains("--shared-cluster"), "\(line)")
                }
                #expect(try await program.lines("migrate", "roles", "--shared-cluster") == [])
                #expect(try await program.lines("migrate", "up", "--shared-cluster").first == "0001_schema.sql")
                #expect(try await program.lines("migrate", "up") == [])
            }
        }
    }

    @Test("An unreachable database gives status 1 and one line", arguments: ["up", "roles", "status", "validate"])
    func unreachable(command: String) async throws {
        let program = Program(environment: ["DATABASE_MIGRATE_URL": "host=/nowhere dbname=x"])
        let run = try await program.run("migrate", command)
        #expect(run.status == 1)
        #expect(run.output == "")
        #expect(run.errorLines.count == 1)
    }
}
