import PostgresTestSupport
import TestSupport
import Testing

/// The isolation level of the server's transactions.
@Suite(.deadline) struct IsolationTests {
    @Test("`serve` and `work` refuse a URL whose transactions are not READ COMMITTED", arguments: ["serve", "work"])
    func refused(command: String) async throws {
        try await withDatabase { database in
            let url = database.url("therapybridge_server") + " options='-c default_transaction_isolation=serializable'"
            let run = try await Program.serving(database, ["DATABASE_URL": url]).run(command)
            #expect(run.status == 78, "\(run.errorOutput)")
            let line = run.errorLines.last ?? ""
            #expect(line.hasPrefix("therapybridge: DATABASE_URL: its sessions have"), "\(line)")
            #expect(line.contains("default_transaction_isolation = 'serializable'"), "\(line)")
        }
    }
}
