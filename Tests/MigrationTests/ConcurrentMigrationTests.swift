import Foundation
import LocalPostgres
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

@testable import Migrations

/// Concurrent migrations, and migrations by roles that are not superusers.
@Suite(.deadline) struct ConcurrentMigrationTests {
    /// The key of the advisory lock, which operators see in pg_locks: "TherapyB" in ASCII.
    private static let lockKey: Int64 = 0x5468_6572_6170_7942

    @Test("If many migrate one database at once, one applies the files and the others find them applied")
    func manyAtOnce() async throws {
        try await withBareDatabase { database in
            let applied = try await withThrowingTaskGroup(of: [Migration].self) { group in
                for _ in 0..<6 { group.addTask { try await database.migrator().up() } }
                return try await group.reduce(into: [[Migration]]()) { $0.append($1) }
            }
            #expect(applied.filter { $0 == Migration.carried }.count == 1)
            #expect(applied.filter { $0.isEmpty }.count == 5)
            #expect(try await database.ledger() == fullLedger)
        }
    }

    @Test("`up` fails with `busy` and changes nothing while another holds the lock")
    func busy() async throws {
        try await withBareDatabase { database in
            try await database.withConnection { other in
                _ = try await other.query("SELECT pg_advisory_lock(\(Self.lockKey))")
                let error = await #expect(throws: MigrationError.self) {
                    try await database.migrator().up(lockTimeout: .milliseconds(1))
                }
                guard case .busy = error else {
                    Issue.record("\(String(describing: error))")
                    return
                }
                #expect(try await database.exists("app.schema_migrations") == false)
                _ = try await other.query("SELECT pg_advisory_unlock(\(Self.lockKey))")
            }
            #expect(try await database.migrator().up() == Migration.carried)
        }
    }

    @Test("`up` waits for another `up`, and releases the lock at its end")
    func waits() async throws {
        try await withBareDatabase { database in
            try await database.withConnection { other in
                _ = try await other.query("SELECT pg_advisory_lock(\(Self.lockKey))")
                async let applied = database.migrator().up()
                _ = try await other.query("SELECT pg_advisory_unlock(\(Self.lockKey))")
                #expect(try await applied == Migration.carried)
                let isFree = try await other.query("SELECT pg_try_advisory_lock(\(Self.lockKey))")[0]
                    .decode(0, as: Bool.self)
                #expect(isFree)
            }
        }
    }

    @Test("Several databases of a new cluster can migrate at once, although they share the roles")
    func rolesRace() async throws {
        try await withCluster { cluster in
            let databases = try await Self.makeDatabases(6, on: cluster)
            try await withThrowingTaskGroup(of: [Migration].self) { group in
                for database in databases { group.addTask { try await database.migrator().up() } }
                for try await applied in group { #expect(applied == Migration.carried) }
            }
            for database in databases { #expect(try await database.ledger() == fullLedger) }
            let roles = try await databases[0].query(
                "SELECT FROM pg_roles WHERE rolname LIKE 'therapybridge%'"
            ).count
            #expect(roles == 3)
        }
    }

    @Test(
        "A database owner with CREATEROLE, who is not a superuser, migrates two databases of a new cluster"
    )
    func notASuperuser() async throws {
        try await withCluster { cluster in
            let admin = TestDatabase(cluster: cluster, name: "postgres")
            for name in ["one", "two"] {
                try await admin.query("CREATE ROLE \(identifier: "deployer_\(name)") LOGIN CREATEROLE")
                try await admin.query("CREATE DATABASE \(identifier: name) OWNER \(identifier: "deployer_\(name)")")
            }
            for name in ["one", "two"] {
                if name == "two" {
                    // From PostgreSQL 16 on, CREATEROLE is not enough to become a member of a role that another role has made.
                    try await admin.query(
                        """
                        DO $$ BEGIN
                            IF current_setting('server_version_num')::integer >= 160000 THEN
                                GRANT therapybridge_owner, therapybridge_server, therapybridge_pipeline TO deployer_two
                                    WITH ADMIN OPTION;
                            END IF;
                        END $$
                        """)
                }
                let database = TestDatabase(cluster: cluster, name: name)
                #expect(try await database.migrator(role: "deployer_\(name)").up() == Migration.carried)
                #expect(try await database.ledger() == fullLedger)
                let next = nextStep("more", "CREATE TABLE app.more ();")
                let code = speakingFile("900_spoken", revision: 1)
                #expect(
                    try await database.migrator(carried(and: next, code), role: "deployer_\(name)").up()
                        == [next, code])
                let owner = try await database.query(
                    "SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = 'app.more'::regclass")[0]
                    .decode(0, as: String.self)
                #expect(owner == "therapybridge_owner")
            }
        }
    }

    @Test("A member of therapybridge_owner without CREATEROLE can apply later migrations")
    func laterWithoutCreateRole() async throws {
        try await withDatabase { database in
            // Tests share the cluster and its roles. This name belongs to this test.
            let role = "member_of_\(database.name)"
            try await database.query("CREATE ROLE \(identifier: role) LOGIN IN ROLE therapybridge_owner")
            let next = nextStep("more", "CREATE TABLE app.more ();")
            let code = speakingFile("900_spoken", revision: 1)
            #expect(try await database.migrator(carried(and: next, code), role: role).up() == [next, code])
            try await database.query("DROP ROLE \(identifier: role)")
        }
    }

    private static func makeDatabases(_ count: Int, on cluster: LocalPostgres) async throws -> [TestDatabase] {
        let admin = TestDatabase(cluster: cluster, name: "postgres")
        var databases: [TestDatabase] = []
        for number in 1...count {
            try await admin.query("CREATE DATABASE \(identifier: "d\(number)")")
            databases.append(TestDatabase(cluster: cluster, name: "d\(number)"))
        }
        return databases
    }
}

/// Lends a cluster of the test's own, without the roles.
private func withCluster<Result>(_ body: (LocalPostgres) async throws -> Result) async throws -> Result {
    let cluster = try await TestCluster.makeCluster()
    defer { try? FileManager.default.removeItem(atPath: cluster.directory) }
    return try await cluster.use(stopMode: .immediate, body)
}
