import Foundation
import LocalPostgres
import PostgresTestSupport
import TestSupport
import Testing

@testable import Postgres

/// A real PgBouncer in transaction mode.
///
/// Debian's package is `pgbouncer`.
@Suite(
    .deadline,
    .enabled(if: hasPooler, "pgbouncer is not installed"))
struct PoolerTests {
    /// Runs a PgBouncer with two connections to the shared server, and lends a configuration that uses it.
    private func withPooler(_ body: (PostgresConfiguration) async throws -> Void) async throws {
        try await PostgresTestSupport.withPooler(of: try await TestCluster.reachable.server()) { port in
            try await body(
                try PostgresConfiguration(
                    connectionString: "host=127.0.0.1 port=\(port) user=any dbname=postgres", pooler: .transaction,
                    connectTimeout: TestDeadline.event, queryTimeout: TestDeadline.event))
        }
    }

    @Test("Queries, transactions and deadlines work through PgBouncer")
    func queries() async throws {
        try await withPooler { configuration in
            try await PostgresPool.withPool(
                configuration, settings: PostgresPoolConfiguration(size: 8, waitTimeout: TestDeadline.event)
            ) { pool in
                try await withThrowingTaskGroup(of: Bool.self) { group in
                    for number in 0..<400 {
                        group.addTask {
                            if number.isMultiple(of: 20) {
                                _ = try? await pool.query("SELECT pg_sleep(600)", timeout: .milliseconds(20))
                            }
                            return try await pool.withTransaction { connection in
                                try await connection.query("SELECT \(number)")[0].decode(0, as: Int.self) == number
                            }
                        }
                    }
                    for try await isRight in group { #expect(isRight) }
                }
                // The first connection to the database that has run a query has prepared nothing.
                let prepared = try await pool.query("SELECT count(*) FROM pg_prepared_statements")
                #expect(try prepared[0].decode(0, as: Int.self) == 0)
            }
        }
    }

    /// The trap: LISTEN succeeds, and a NOTIFY to itself even comes back while the client has the server's connection.
    ///
    /// Later none does.
    @Test("A listener behind PgBouncer never reports live")
    func listener() async throws {
        try await withPooler { configuration in
            var timing = ListenerTiming()
            // Enough for LISTEN on a loaded machine.
            timing.answer = .seconds(3)
            try await withListener(channels: ["pooled"], timing: timing, configuration: configuration) {
                listener, events in
                let trouble = try await events.trouble()
                #expect(trouble == .notProved)
                try await eventually("the listener has tried again") { listener.statistics.failures >= 2 }
                #expect(listener.statistics.livePeriods == 0)
            }
        }
    }
}
