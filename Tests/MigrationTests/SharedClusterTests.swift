import Foundation
import LocalPostgres
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

@testable import Migrations

/// The roles of a cluster: one installation a cluster, and no role with rights that it must not have.
@Suite("One installation a cluster", .deadline) struct SharedClusterTests {
    /// Lends a cluster of its own that does not say that it is shared, with a database `first` without a schema.
    private func withCluster(_ body: (LocalPostgres, TestDatabase) async throws -> Void) async throws {
        try await LocalPostgres.start(directory: TestCluster.newDirectory(), fsync: false, logger: quietLogger)
            .use(stopMode: .immediate) { cluster in
                try await body(cluster, try await database("first", of: cluster))
            }
    }

    private func database(_ name: String, of cluster: LocalPostgres) async throws -> TestDatabase {
        try await TestDatabase(cluster: cluster, name: "postgres").query("CREATE DATABASE \(unescaped: name)")
        return TestDatabase(cluster: cluster, name: name)
    }

    private func expectRefused(
        _ words: String..., sourceLocation: SourceLocation = #_sourceLocation,
        _ body: () async throws -> Void
    ) async throws {
        let error = await #expect(throws: MigrationError.self, sourceLocation: sourceLocation) { try await body() }
        guard case .unsafeCluster(let text) = error else {
            Issue.record("\(String(describing: error))", sourceLocation: sourceLocation)
            return
        }
        for word in words { #expect(text.contains(word), "\(text)", sourceLocation: sourceLocation) }
    }

    @Test("A second database of the cluster is refused by name, and nothing is applied")
    func second() async throws {
        try await withCluster { cluster, first in
            #expect(try await first.migrator().up() == Migration.carried)
            // A second run in the same database is no second installation.
            #expect(try await first.migrator().up() == [])
            let second = try await database("second", of: cluster)
            try await expectRefused("\"first\"", "--shared-cluster") { _ = try await second.migrator().up() }
            #expect(try await second.exists("app.schema_migrations") == false)
            try await expectRefused("\"first\"") { try await second.migrator().makeRoles() }
            #expect(try await second.migrator().up(isClusterShared: true) == Migration.carried)
            // A third operator is refused by the name of the first database found.
            let third = try await database("third", of: cluster)
            try await expectRefused("\"first\"") { _ = try await third.migrator().up() }
        }
    }

    @Test("psql refuses it, too, unless PGOPTIONS says that the cluster is shared")
    func psql() async throws {
        try await withCluster { cluster, first in
            _ = try await first.migrator().up()
            let second = try await database("second", of: cluster)
            try await withMigrationFiles { files in
                let refused = try await second.psql("-f", files[0])
                #expect(refused.status == 3)
                #expect(refused.errorOutput.contains("\"first\""))
                #expect(refused.errorOutput.contains("therapybridge.shared_cluster"))
                #expect(try await second.exists("app.schema_migrations") == false)
                let allowed = try await second.psql(
                    "-c", "SET therapybridge.shared_cluster = on", "-f", files[0])
                #expect(allowed.status == 0, "\(allowed.errorOutput)")
            }
        }
    }

    @Test("A database that belongs to the owner's role counts, also without objects")
    func databaseOwner() async throws {
        try await withCluster { cluster, first in
            try await first.migrator().makeRoles()
            try await first.query("ALTER DATABASE first OWNER TO therapybridge_owner")
            // Its own database may belong to the role.
            #expect(try await first.migrator().up() == Migration.carried)
            let second = try await database("second", of: cluster)
            try await first.query("DROP SCHEMA app CASCADE")
            try await expectRefused("\"first\"") { _ = try await second.migrator().up() }
        }
    }

    @Test(
        "A role that exists with rights that it must not have is refused",
        arguments: [
            ("ALTER ROLE therapybridge_server SUPERUSER", "SUPERUSER"),
            ("ALTER ROLE therapybridge_server BYPASSRLS", "BYPASSRLS"),
            ("ALTER ROLE therapybridge_pipeline CREATEROLE", "CREATEROLE"),
            ("ALTER ROLE therapybridge_pipeline CREATEDB", "CREATEDB"),
            ("ALTER ROLE therapybridge_owner REPLICATION", "REPLICATION"),
            ("ALTER ROLE therapybridge_owner LOGIN", "LOGIN"),
            ("GRANT therapybridge_owner TO therapybridge_server", "membership in therapybridge_owner"),
            ("GRANT therapybridge_server TO therapybridge_pipeline", "membership in therapybridge_server"),
            ("GRANT pg_read_all_data TO therapybridge_pipeline", "membership in pg_read_all_data"),
            ("GRANT postgres TO therapybridge_server", "membership in postgres"),
            (
                "CREATE ROLE middle NOINHERIT IN ROLE therapybridge_owner; GRANT middle TO therapybridge_server",
                "membership in therapybridge_owner"
            ),
        ])
    func attributes(script: String, fault: String) async throws {
        try await withCluster { _, first in
            try await first.migrator().makeRoles()
            try await first.withConnection { try await $0.executeScript(script) }
            try await expectRefused(fault, "therapybridge_") { _ = try await first.migrator().up() }
            try await expectRefused(fault) { try await first.migrator().makeRoles() }
            #expect(try await first.exists("app.schema_migrations") == false)
            #expect(try await first.migrator().up(isClusterShared: true) == Migration.carried)
        }
    }

    @Test("`migrate roles` makes the roles alone and its caller a member, and may be repeated")
    func roles() async throws {
        try await withCluster { _, first in
            try await first.query("CREATE ROLE operator LOGIN CREATEROLE")
            try await first.query("ALTER DATABASE first OWNER TO operator")
            for _ in 0..<2 { try await first.migrator(role: "operator").makeRoles() }
            let rows = try await first.query(
                """
                SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname LIKE 'therapybridge%' ORDER BY rolname
                """)
            let found = try rows.map { (try $0.decode(0, as: String.self), try $0.decode(1, as: Bool.self)) }
            #expect(found.map(\.0) == ["therapybridge_owner", "therapybridge_pipeline", "therapybridge_server"])
            #expect(found.map(\.1) == [false, true, true])
            let isMember = try await first.query(
                "SELECT pg_has_role('operator', 'therapybridge_owner', 'MEMBER')")[0].decode(0, as: Bool.self)
            #expect(isMember)
            #expect(try await first.exists("app.schema_migrations") == false)
            #expect(try await first.migrator(role: "operator").up() == Migration.carried)
            try await first.migrator(role: "operator").makeRoles()
        }
    }
}
