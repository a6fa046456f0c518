import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// Roles that row-level security does not bind, as the role of `DATABASE_URL`.
@Suite(.deadline) struct DatabaseRoleTests {
    /// What makes a role unfit.
    enum Fault: String, CaseIterable {
        case superuser, memberOfSuperuser, bypass, memberOfBypass, owner, memberOfMember

        /// The statements that make a role of this name.
        func script(_ name: String) -> String {
            switch self {
            case .superuser: "CREATE ROLE \(name) LOGIN SUPERUSER"
            case .memberOfSuperuser: "CREATE ROLE \(name) LOGIN IN ROLE therapybridge_server, postgres"
            case .bypass: "CREATE ROLE \(name) LOGIN BYPASSRLS IN ROLE therapybridge_server"
            case .memberOfBypass:
                "CREATE ROLE \(name)_b BYPASSRLS; CREATE ROLE \(name) LOGIN IN ROLE therapybridge_server, \(name)_b"
            case .owner: "CREATE ROLE \(name) LOGIN IN ROLE therapybridge_owner"
            case .memberOfMember:
                "CREATE ROLE \(name)_b NOINHERIT IN ROLE therapybridge_owner; "
                    + "CREATE ROLE \(name) LOGIN IN ROLE therapybridge_server, \(name)_b"
            }
        }
    }

    @Test(
        "`serve` and `work` refuse a role that row-level security does not bind, and name the right one",
        arguments: ["serve", "work"], Fault.allCases)
    func refused(command: String, fault: Fault) async throws {
        try await withDatabase { database in
            let name = "tb_role_\(UUID().uuidString.prefix(8).lowercased())"
            try await database.withConnection { try await $0.executeScript(fault.script(name)) }
            let run = try await Program.serving(database, ["DATABASE_URL": database.url(name)]).run(command)
            try await database.withConnection {
                try await $0.executeScript("DROP ROLE \(name); DROP ROLE IF EXISTS \(name)_b")
            }
            #expect(run.status == 78, "\(run.errorOutput)")
            #expect(run.output == "")
            let line = run.errorLines.last ?? ""
            #expect(line.hasPrefix("therapybridge: DATABASE_URL: its role \(name) "), "\(line)")
            #expect(line.contains("use therapybridge_server"), "\(line)")
        }
    }

    @Test("A member of the server's role alone is accepted")
    func member() async throws {
        try await withDatabase { database in
            let name = "tb_role_\(UUID().uuidString.prefix(8).lowercased())"
            try await database.withConnection {
                try await $0.executeScript("CREATE ROLE \(name) LOGIN IN ROLE therapybridge_server")
            }
            let (_, end) = try await Program.serving(database, ["DATABASE_URL": database.url(name)]).serve {
                $0.terminate()
            }
            try await database.withConnection { try await $0.executeScript("DROP ROLE \(name)") }
            #expect(end.status == 0)
        }
    }
}
