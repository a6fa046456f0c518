import Foundation
import Postgres
import TestSupport
import Testing

private struct BodyError: Error {}

@Suite("Transactions", .deadline) struct TransactionTests {
    private func withTable(_ body: (PostgresConnection) async throws -> Void) async throws {
        try await withConnection { connection in
            try await connection.executeScript(
                "CREATE TEMPORARY TABLE t (n int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)")
            try await body(connection)
        }
    }

    private func count(_ connection: PostgresConnection) async throws -> Int {
        try await connection.query("SELECT count(*) FROM t")[0].decode(0, as: Int.self)
    }

    @Test("The statements of the body are committed")
    func commit() async throws {
        try await withTable { connection in
            let value = try await connection.withTransaction { connection in
                try await connection.execute("INSERT INTO t VALUES (1)")
                return "done"
            }
            #expect(value == "done")
            try await #expect(count(connection) == 1)
        }
    }

    @Test("An error of the body rolls back and is thrown")
    func rollback() async throws {
        try await withTable { connection in
            await #expect(throws: BodyError.self) {
                try await connection.withTransaction { connection in
                    try await connection.execute("INSERT INTO t VALUES (1)")
                    throw BodyError()
                }
            }
            try await #expect(count(connection) == 0)
        }
    }

    @Test("A cancelled task rolls back")
    func cancelled() async throws {
        try await withTable { connection in
            let task = Task {
                try await connection.withTransaction { connection in
                    try await connection.execute("INSERT INTO t VALUES (1)")
                    withUnsafeCurrentTask { $0?.cancel() }
                }
            }
            let error = await #expect(throws: PostgresError.self) { try await task.value }
            #expect(error?.code == .cancelled)
            try await #expect(count(connection) == 0)
        }
    }

    @Test("If the body ignores a failed statement, COMMIT reports it")
    func commitRefused() async throws {
        try await withTable { connection in
            let error = await #expect(throws: PostgresError.self) {
                try await connection.withTransaction { connection in
                    try await connection.execute("INSERT INTO t VALUES (1)")
                    _ = try? await connection.query("SELECT 1/0")
                }
            }
            #expect(error?.code == .transaction(.commitRefused))
            try await #expect(count(connection) == 0)
        }
    }

    @Test("A constraint that is checked at COMMIT is an error of the server")
    func deferredConstraint() async throws {
        try await withTable { connection in
            let error = await #expect(throws: PostgresError.self) {
                try await connection.withTransaction { connection in
                    try await connection.execute("INSERT INTO t VALUES (1), (1)")
                }
            }
            #expect(error?.code == .server)
            #expect(error?.sqlState == .uniqueViolation)
            try await #expect(count(connection) == 0)
        }
    }

    @Test("If the ROLLBACK fails too, the error has both causes")
    func rollbackFails() async throws {
        try await withConnection { connection in
            let error = await #expect(throws: PostgresError.self) {
                try await connection.withTransaction { connection in
                    let process = await connection.backendProcessID
                    try await withConnection { _ = try await $0.query("SELECT pg_terminate_backend(\(process))") }
                    throw BodyError()
                }
            }
            #expect(error?.code == .transaction(.rollbackFailed))
            #expect(error?.underlying.count == 2)
            #expect(error?.underlying.first is BodyError)
            #expect((error?.underlying.last as? PostgresError)?.code == .connection)
        }
    }

    @Test("If the connection is lost during COMMIT, the outcome is unknown")
    func lostDuringCommit() async throws {
        try await withTable { connection in
            // The deferred trigger runs within COMMIT and ends its own session.
            try await connection.executeScript(
                """
                CREATE FUNCTION pg_temp.end_session() RETURNS trigger LANGUAGE plpgsql AS
                  'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(600); RETURN NULL; END';
                CREATE CONSTRAINT TRIGGER end_session AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
                  FOR EACH ROW EXECUTE FUNCTION pg_temp.end_session();
                """)
            let error = await #expect(throws: PostgresError.self) {
                try await connection.withTransaction { try await $0.execute("INSERT INTO t VALUES (1)") }
            }
            #expect(error?.code == .transaction(.commitOutcomeUnknown))
            #expect(error?.sqlState == .adminShutdown)
            #expect(error?.isTransient == true)
        }
    }

    @Test("The isolation level and read-only mode reach the server")
    func modes() async throws {
        try await withTable { connection in
            try await connection.executeScript("SET default_transaction_isolation = 'serializable'")
            let level = try await connection.withTransaction(readOnly: true) { connection in
                try await connection.query("SHOW transaction_isolation")[0].decode(0, as: String.self)
            }
            #expect(level == "read committed")
            let error = await #expect(throws: PostgresError.self) {
                try await connection.withTransaction(readOnly: true) {
                    _ = try await $0.query("SELECT txid_current()"); try await $0.executeScript("CREATE TABLE never ()")
                }
            }
            #expect(error?.sqlState == .readOnlyTransaction)
        }
    }
}
