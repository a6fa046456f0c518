import Foundation
import Postgres
import TestSupport
import Testing

private struct BodyError: Error {}

@Suite(.deadline) struct TransactionTests {
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

    @Test func `What the body did is committed`() async throws {
        try await withTable { connection in
            let value = try await connection.withTransaction { connection in
                try await connection.execute("INSERT INTO t VALUES (1)")
                return "done"
            }
            #expect(value == "done")
            try await #expect(count(connection) == 1)
        }
    }

    @Test func `An error of the body rolls back and is thrown`() async throws {
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

    @Test func `A cancelled task rolls back`() async throws {
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

    @Test func `A statement that failed and was passed over makes COMMIT say so`() async throws {
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

    @Test func `A constraint that is checked at COMMIT is an error of the server's`() async throws {
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

    @Test func `When the ROLLBACK fails too, both causes are kept`() async throws {
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

    @Test func `A connection that is lost during COMMIT leaves the outcome open`() async throws {
        try await withTable { connection in
            // The deferred trigger runs within COMMIT and ends its own session there.
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

    @Test func `Isolation and read-only are what was asked for`() async throws {
        try await withTable { connection in
            let level = try await connection.withTransaction(isolation: .serializable, readOnly: true) { connection in
                try await connection.query("SHOW transaction_isolation")[0].decode(0, as: String.self)
            }
            #expect(level == "serializable")
            let error = await #expect(throws: PostgresError.self) {
                try await connection.withTransaction(readOnly: true) {
                    _ = try await $0.query("SELECT txid_current()"); try await $0.executeScript("CREATE TABLE never ()")
                }
            }
            #expect(error?.sqlState == .readOnlyTransaction)
        }
    }
}
