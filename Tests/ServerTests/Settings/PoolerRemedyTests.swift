import Domain
import LocalPostgres
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// A transaction-mode pooler that no setting names, and that lets the start of a connection pass.
@Suite(.deadline, .enabled(if: hasPooler)) struct PoolerRemedyTests {
    @Test("The log says that a pooler is in between, and names the settings")
    func remedy() async throws {
        let password = "hush-hush-hush"
        let log = LogMemory()
        try await TestCluster.makeCluster(listensOnLoopback: true).use(stopMode: .immediate) { cluster in
            try await TestCluster.migrate("bridge", of: cluster)
            let database = TestDatabase(cluster: cluster, name: "bridge")
            try await database.query("ALTER ROLE therapybridge_server PASSWORD 'hush-hush-hush'")
            try await withPooler(
                of: cluster, database: "bridge", user: "therapybridge_server", password: password, ignoring: "options"
            ) { port in
                let url = "host=127.0.0.1 port=\(port) dbname=bridge user=any"
                let environment = ["DATABASE_URL": url, "DATABASE_LISTEN_URL": database.url("therapybridge_server")]
                try await withServer(over: database, environment, log: log) { server in
                    let clinic = try await Clinic(server)
                    try await eventually("two clients of the pooler meet the same statement") {
                        try await withThrowingTaskGroup(of: Int.self) { group in
                            for caller in [Clinic.Caller.patient, .therapist, .admin, .patient, .therapist, .admin] {
                                group.addTask { try await clinic.request(.GET, "/api/sessions", as: caller).status }
                            }
                            return try await group.contains(500)
                        }
                    }
                }
            }
        }
        #expect(log.text.contains("DATABASE_POOLER=transaction"))
    }
}
