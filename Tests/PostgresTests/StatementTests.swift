import Foundation
import Postgres
import TestSupport
import Testing

@Suite("Prepared statements", .deadline) struct StatementTests {
    private func preparedCount(_ connection: PostgresConnection) async throws -> Int {
        // The simple protocol would not return binary values. Each call has a new text, thus the statement counts
        // itself.
        try await connection.query(
            "SELECT count(*) FROM pg_prepared_statements WHERE statement NOT LIKE '%pg_prepared%'")[0]
            .decode(0, as: Int.self)
    }

    @Test("Equal texts share a prepared statement")
    func shared() async throws {
        try await withConnection { connection in
            for number in 0..<10 { _ = try await connection.query("SELECT \(number)") }
            for text in ["a", "b"] { _ = try await connection.query("SELECT \(text)") }
            try await #expect(preparedCount(connection) == 2, "there is one statement for each type of the parameter")
        }
    }

    @Test("A connection keeps no more statements than it has room for")
    func capacity() async throws {
        try await withConnection({ $0.statementCacheSize = 8 }) { connection in
            for number in 0..<50 { _ = try await connection.query(PostgresQuery(unescaped: "SELECT \(number)")) }
            try await #expect(preparedCount(connection) <= 8)
        }
    }

    @Test("Through a pooler no statement has a name")
    func pooler() async throws {
        try await withConnection({ $0.pooler = .transaction }) { connection in
            for number in 0..<10 {
                try await #expect(connection.query("SELECT \(number)")[0].decode(0, as: Int.self) == number)
            }
            try await #expect(preparedCount(connection) == 0)
            let timeout = try await connection.query("SHOW statement_timeout")[0].decode(0, as: String.self)
            #expect(timeout == "0", "no startup options were sent")
        }
    }

    @Test("Outside of a transaction, a table that changes its columns can be read again")
    func changedTable() async throws {
        try await withConnection { connection in
            try await connection.executeScript("CREATE TEMPORARY TABLE shape (a int)")
            let query: PostgresQuery = "SELECT * FROM shape"
            try await #expect(connection.query(query).columns.count == 1)
            try await connection.executeScript("ALTER TABLE shape ADD COLUMN b int")
            try await #expect(connection.query(query).columns.count == 2)
            try await connection.executeScript("ALTER TABLE shape ADD COLUMN c int")
            let error = await #expect(throws: PostgresError.self) {
                try await connection.withTransaction { _ = try await $0.query(query) }
            }
            #expect(error?.sqlState == .featureNotSupported)
            try await #expect(connection.query(query).columns.count == 3, "after the transaction it is prepared again")
        }
    }

    @Test("Statements that were deallocated are prepared again")
    func deallocated() async throws {
        try await withConnection { connection in
            _ = try await connection.query("SELECT \(1)")
            try await connection.executeScript("DEALLOCATE ALL")
            try await #expect(connection.query("SELECT \(2)")[0].decode(0, as: Int.self) == 2)
            try await connection.executeScript("DISCARD ALL")
            try await #expect(connection.query("SELECT \(3)")[0].decode(0, as: Int.self) == 3)
        }
    }

    @Test("A failed transaction with a full cache can be rolled back, and the connection goes on")
    func failedTransaction() async throws {
        try await withConnection({ $0.statementCacheSize = 1 }) { connection in
            _ = try await connection.query("SELECT 1")
            await #expect(throws: PostgresError.self) {
                try await connection.withTransaction { connection in
                    _ = try? await connection.query("SELECT 1/0")
                    _ = try await connection.query("SELECT 2")
                }
            }
            try await #expect(connection.query("SELECT 3")[0].decode(0, as: Int.self) == 3)
        }
    }
}
