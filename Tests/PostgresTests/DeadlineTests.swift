import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

@Suite("Deadlines and cancellation of queries", .deadline) struct DeadlineTests {
    /// How many of the server's processes with this name run a query.
    private func active(_ name: String) async throws -> Int {
        try await withConnection { connection in
            try await connection.query(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = \(name) AND state = 'active'")[0]
                .decode(0, as: Int.self)
        }
    }

    @Test("A query that takes too long fails, is cancelled on the server, and leaves the connection usable")
    func tooLong()
        async throws
    {
        let name = "deadline \(UUID())"
        try await withConnection({ $0.applicationName = name }) { connection in
            let before = await connection.backendProcessID
            let error = await #expect(throws: PostgresError.self) {
                try await connection.query("SELECT pg_sleep(600)", timeout: .milliseconds(100))
            }
            #expect(error?.code == .deadlineExceeded)
            #expect(error?.isTransient == true)
            try await #expect(connection.query("SELECT pg_backend_pid()")[0].decode(0, as: Int32.self) == before)
            try await eventually("the server has cancelled the query") { try await active(name) == 0 }
        }
    }

    @Test("A cancelled task cancels its query")
    func cancelledTask() async throws {
        let name = "cancel \(UUID())"
        try await withConnection({ $0.applicationName = name }) { connection in
            let task = Task { try await connection.query("SELECT pg_sleep(600)") }
            try await eventually("the query runs") { try await active(name) == 1 }
            task.cancel()
            let error = await #expect(throws: PostgresError.self) { try await task.value }
            #expect(error?.code == .cancelled)
            try await #expect(connection.query("SELECT 1").count == 1)
            try await eventually("the server has cancelled the query") { try await active(name) == 0 }
        }
    }

    @Test("A query of a task that is cancelled already is not sent")
    func cancelledBefore() async throws {
        try await withConnection { connection in
            try await connection.executeScript("CREATE TEMPORARY TABLE untouched (n int)")
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                try await connection.execute("INSERT INTO untouched VALUES (1)")
            }
            let error = await #expect(throws: PostgresError.self) { try await task.value }
            #expect(error?.code == .cancelled)
            try await #expect(connection.query("SELECT * FROM untouched").isEmpty)
        }
    }

    @Test("A queued query can be cancelled")
    func queued() async throws {
        try await withConnection { connection in
            async let slow = connection.query("SELECT pg_sleep(0.3)")
            // It may be sent before or after the slow one. With its deadline it ends in both cases.
            let error = await #expect(throws: PostgresError.self) {
                try await connection.query("SELECT pg_sleep(600)", timeout: .milliseconds(100))
            }
            #expect(error?.code == .deadlineExceeded)
            _ = try await slow
        }
    }

    /// The race: a late cancel request hits the next query.
    @Test("A late cancel request never hits a later query")
    func noLateCancel() async throws {
        try await withConnection { connection in
            for round in 0..<200 {
                // Near the query's own end, so that the cancel request is sometimes early and sometimes late.
                _ = try? await connection.query(
                    "SELECT pg_sleep(0.002)", timeout: .microseconds(1800 + round % 5 * 200))
                try await #expect(connection.query("SELECT \(round)")[0].decode(0, as: Int.self) == round)
            }
        }
    }

    @Test("A huge timeout is the same as none")
    func hugeTimeout() async throws {
        try await withConnection({
            $0.queryTimeout = nil
            $0.statementTimeout = .seconds(Int64.max)
            $0.tcpUserTimeout = .seconds(Int64.max)
        }) { connection in
            try await #expect(connection.query("SELECT 1").count == 1)
            try await #expect(connection.query("SELECT 1", timeout: .seconds(Int64.max)).count == 1)
        }
    }

    @Test("The server's own time limit is an error of the server")
    func statementTimeout() async throws {
        try await withConnection({ $0.statementTimeout = .milliseconds(50) }) { connection in
            let error = await #expect(throws: PostgresError.self) { try await connection.query("SELECT pg_sleep(600)") }
            #expect(error?.sqlState == .queryCanceled)
        }
    }
}
