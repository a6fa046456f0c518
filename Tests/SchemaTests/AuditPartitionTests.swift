import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The partitions of the audit log: each as protected as the log, made ahead of time, removed as a whole.
@Suite(.deadline) struct AuditPartitionTests {
    @Test("The present month and the three after it have partitions, and the default partition is empty")
    func ahead() async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            _ = try await database.addSession(of: patient)
            let missing = try await database.query(
                """
                SELECT m::text FROM generate_series(0, 3) AS m
                WHERE NOT EXISTS (
                    SELECT FROM pg_inherits WHERE inhparent = 'app.audit_log'::regclass
                      AND inhrelid::regclass::text = 'app.audit_log_'
                          || to_char(now() AT TIME ZONE 'UTC' + make_interval(months => m), 'YYYY_MM'))
                """)
            #expect(missing.isEmpty)
            #expect(try await database.query("SELECT FROM app.audit_log").count == 2)
            #expect(try await database.query("SELECT FROM app.audit_log_default").isEmpty)
            #expect(try await database.addPartition() == nil)
        }
    }

    @Test(
        "A statement that changes, empties or deletes from one partition is refused, to the owner and superusers too",
        arguments: ["therapybridge_server", "therapybridge_pipeline", "owner", "postgres"])
    func protected(role: String) async throws {
        try await withDatabase { database in
            _ = try await database.addUser(.patient)
            try await database.query("INSERT INTO app.audit_log (at, action) VALUES ('2001-02-03', 'test.old')")
            for month in ["2001_02", nil] {
                #expect(try await database.addPartition() == month.map { "audit_log_\($0)" })
            }
            try await database.query("INSERT INTO app.audit_log (at, action) VALUES ('2002-02-03', 'test.default')")
            let partitions = try await database.query(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'app.audit_log'::regclass"
            ).map { try $0.decode(0, as: String.self) }
            #expect(partitions.count >= 6)
            try await database.withConnection(as: role == "owner" ? "postgres" : role) { connection async throws in
                if role == "owner" { try await connection.executeScript("SET ROLE therapybridge_owner") }
                for partition in partitions {
                    for statement in [
                        "UPDATE \(partition) SET is_allowed = true", "DELETE FROM \(partition)",
                        "TRUNCATE \(partition)",
                    ] {
                        let error = await #expect(throws: PostgresError.self, "\(statement)") {
                            try await connection.executeScript(statement)
                        }
                        #expect(error?.sqlState == .insufficientPrivilege, "\(statement)")
                    }
                    if role.hasPrefix("therapybridge") {
                        #expect(
                            try await connection.refusal(of: PostgresQuery(unescaped: "SELECT FROM \(partition)"))
                                == .insufficientPrivilege)
                        let insertion = "INSERT INTO \(partition) (at, action) SELECT now(), 'test.forged'"
                        #expect(
                            try await connection.refusal(of: PostgresQuery(unescaped: insertion))
                                == .insufficientPrivilege, "\(insertion)")
                    }
                }
            }
            #expect(try await database.audit().count == 3)
        }
    }

    @Test("The setting by which records leave the default partition lets the owner delete them, and nobody else")
    func moveSetting() async throws {
        for role in ["therapybridge_server", "therapybridge_pipeline", "owner"] {
            try await withDatabase { database in
                try await database.query("INSERT INTO app.audit_log (at, action) VALUES ('2001-02-03', 'test.old')")
                #expect(try await database.addPartition() == "audit_log_2001_02")
                try await database.query("INSERT INTO app.audit_log (at, action) VALUES ('2002-02-03', 'test.default')")
                try await database.withConnection(as: role == "owner" ? "postgres" : role) { connection async throws in
                    if role == "owner" { try await connection.executeScript("SET ROLE therapybridge_owner") }
                    for (table, isAllowed) in [("audit_log_default", role == "owner"), ("audit_log_2001_02", false)] {
                        try await connection.executeScript(
                            "BEGIN; SELECT set_config('app.audit_move', pg_current_xact_id()::text, true)")
                        let refusal = try await connection.refusal(
                            of: "DELETE FROM app.\(unescaped: table) WHERE action LIKE 'test.%'")
                        #expect(refusal == (isAllowed ? nil : .insufficientPrivilege), "\(role) \(table)")
                        try await connection.executeScript("ROLLBACK")
                    }
                }
            }
        }
    }

    @Test("A month without a partition closes nothing, and its records move when it gets one")
    func moved() async throws {
        try await withDatabase { database in
            let present = try await database.presentPartition()
            try await database.query("DROP TABLE \(unescaped: present)")
            let patient = try await database.addUser(.patient)
            _ = try await database.addSession(of: patient)
            try await database.query(
                """
                INSERT INTO app.audit_log (at, action)
                SELECT t, 'test.old' FROM unnest('{2001-01-31 23:59:59.999999Z, 2001-02-01Z, 2001-02-28 23:59Z}'::timestamptz[]) AS t
                """)
            let before = try await database.audit()
            #expect(before.count == 5)
            #expect(try await database.query("SELECT FROM app.audit_log_default").count == 5)

            // The server's role adds them, the present month first.
            for name in [present.replacing("app.", with: ""), "audit_log_2001_01", "audit_log_2001_02"] {
                #expect(try await database.addPartition() == name)
                #expect(try await database.audit() == before)
            }
            #expect(try await database.addPartition() == nil)
            #expect(try await database.query("SELECT FROM app.audit_log_default").isEmpty)
            #expect(try await database.query("SELECT FROM \(unescaped: present)").count == 2)
            #expect(try await database.query("SELECT FROM app.audit_log_2001_02").count == 2)
        }
    }

    @Test("While a partition is added, the present month goes on; a lock that is not free ends the addition at once")
    func locks() async throws {
        try await withDatabase { database in
            try await database.query("INSERT INTO app.audit_log (at, action) VALUES ('2001-02-03', 'test.old')")
            try await database.withConnection { connection async throws in
                try await connection.executeScript("BEGIN")
                #expect(
                    try await connection.query("SELECT app.add_audit_partition() AS name")[0].decode(
                        "name", as: String.self)
                        == "audit_log_2001_02")
                try await database.withConnection { other async throws in
                    // Without a wait for a lock.
                    try await other.executeScript("SET lock_timeout = '1ms'")
                    _ = try await other.query("INSERT INTO app.audit_log (action) VALUES ('test.new')")
                    // Another server's janitor does not wait, and adds nothing.
                    #expect(
                        try await other.query("SELECT app.add_audit_partition() AS name")[0]
                            .decode("name", as: String?.self) == nil)
                }
                try await connection.executeScript("ROLLBACK")

                // A writer holds the default partition.
                try await connection.executeScript(
                    "BEGIN; INSERT INTO app.audit_log (at, action) VALUES ('2001-02-04', 'test.old')")
                let error = await #expect(throws: PostgresError.self) { try await database.addPartition() }
                #expect(error?.sqlState == .lockNotAvailable)
                try await connection.executeScript("COMMIT")
            }
            #expect(try await database.addPartition() == "audit_log_2001_02")
            #expect(try await database.query("SELECT FROM app.audit_log_2001_02").count == 2)
            #expect(try await database.audit("action = 'test.new'").count == 1)
        }
    }

    @Test("The owner removes a past month as a whole, and leaves one record of that")
    func dropped() async throws {
        try await withDatabase { database in
            try await database.query(
                """
                INSERT INTO app.audit_log (at, action)
                SELECT t, 'test.old' FROM unnest('{2001-01-31Z, 2001-02-01Z, 2001-02-28 23:59Z}'::timestamptz[]) AS t
                """)
            while try await database.addPartition() != nil {}
            try await database.withConnection { connection async throws in
                try await connection.executeScript("SET ROLE therapybridge_owner")
                #expect(
                    try await connection.query("SELECT app.drop_audit_partition('2001-02-17') AS total")[0]
                        .decode("total", as: Int64.self) == 2)
                #expect(
                    try await connection.refusal(of: "SELECT app.drop_audit_partition('2001-02-01')") == .noDataFound)
                for month in ["now()::date", "(now() + interval '1 month')::date"] {
                    #expect(
                        try await connection.refusal(of: "SELECT app.drop_audit_partition(\(unescaped: month))")
                            == .invalidParameterValue)
                }
            }
            let records = try await database.audit()
            #expect(records.map(\.action) == ["test.old", "audit.remove"])
            #expect(records.last?.detail == "2 records of 2001-02")
            #expect(records.last?.databaseRole == "postgres")
            #expect(
                try await database.withConnection(as: "therapybridge_server") {
                    try await $0.refusal(of: "SELECT app.drop_audit_partition('2001-01-01')")
                } == .insufficientPrivilege)
        }
    }

    @Test("A DELETE of old records by the owner works over all partitions, and leaves one record")
    func deleted() async throws {
        try await withDatabase { database in
            try await database.query(
                """
                INSERT INTO app.audit_log (at, action)
                SELECT t, 'test.old' FROM unnest('{2001-01-31Z, 2001-02-01Z, 2001-03-01Z}'::timestamptz[]) AS t
                """)
            #expect(try await database.addPartition() == "audit_log_2001_01")
            try await database.withConnection { connection in
                try await connection.executeScript(
                    "SET ROLE therapybridge_owner; DELETE FROM app.audit_log WHERE at < '2001-02-10'")
            }
            let records = try await database.audit()
            #expect(records.map(\.action) == ["test.old", "audit.remove"])
            #expect(records.last?.detail?.hasPrefix("2 records, until 2001-02-01") == true)
        }
    }
}

extension TestDatabase {
    /// Adds a partition as the server does; nil if none is needed.
    fileprivate func addPartition() async throws -> String? {
        try await query("SELECT app.add_audit_partition() AS name", as: "therapybridge_server")[0]
            .decode("name", as: String?.self)
    }

    /// The name of the present month's partition.
    fileprivate func presentPartition() async throws -> String {
        try await query("SELECT 'app.audit_log_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM') AS name")[0]
            .decode("name", as: String.self)
    }
}
