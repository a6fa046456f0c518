import Domain
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// How often the refresh of estimates reads the sessions that wait.
@Suite(.deadline) struct QueueReadingTests {
    @Test("Until a hundred times the duration of a reading has passed, a refresh reads only the sessions at a stage")
    func pause() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                let running = try await connection.addRecording(seconds: 600)
                try await connection.report(Report("transcribing", 20), running)
                for _ in 0..<3 { _ = try await connection.addRecording(seconds: 600) }
                #expect(try await connection.refresh() == 4)
                let pause = try await connection.query(
                    "SELECT date_part('epoch', queue_due_at - refreshed_at) AS pause FROM app.estimate_state")[0]
                    .decode("pause", as: Double.self)
                #expect(pause > 0 && pause <= 600)

                // A session joins, and the stage of another goes on.
                let late = try await connection.addRecording(seconds: 600)
                try await connection.pass(100, running)
                #expect(try await connection.refresh(queueDueIn: "1 minute") == 1)
                #expect(try await isAbout(410, connection.progress(of: running).estimate))
                #expect(try await connection.progress(of: late).estimate == nil)
                #expect(try await connection.refresh(queueDueIn: "-1 second") == 1)
                #expect(try await connection.progress(of: late).estimate != nil)
            }
        }
    }

    @Test("After the clock was set back, the next refresh reads the queue")
    func clockSetBack() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                _ = try await connection.addRecording(seconds: 600)
                #expect(try await connection.refresh(queueDueIn: "1 hour") == 1)
            }
        }
    }

    @Test("A refresh does not read the sessions that wait in order to find those at a stage")
    func plan() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                for _ in 0..<20 { _ = try await connection.addRecording(seconds: 600) }
                try await connection.refresh()
                let keys: PostgresQuery = """
                    SELECT pg_stat_get_xact_tuples_fetched('app.session_leases_pkey'::regclass)
                         + pg_stat_get_xact_tuples_returned('app.session_leases_queued_at_idx'::regclass)
                         + pg_stat_get_xact_tuples_returned('app.session_leases'::regclass)
                    """
                // In a transaction, PostgreSQL keeps its counts.
                try await connection.executeScript("BEGIN")
                let before = try await connection.count(keys)
                #expect(try await connection.refresh(queueDueIn: "1 minute") == 0)
                // The first row, which says that the queue is not empty.
                #expect(try await connection.count(keys) - before <= 1)
                #expect(try await connection.refresh(queueDueIn: "-1 second") == 0)
                #expect(try await connection.count(keys) - before >= 20)
                try await connection.executeScript("COMMIT")
            }
        }
    }
}

extension PostgresConnection {
    /// Renews the estimates, as if the last refresh was 10 s ago and the queue was due after `interval`.
    fileprivate func refresh(queueDueIn interval: String) async throws -> Int {
        _ = try await query(
            """
            UPDATE app.estimate_state SET refreshed_at = clock_timestamp() - interval '10 seconds',
                queue_due_at = clock_timestamp() + \(interval)::interval
            """)
        return Int(try await query("SELECT app.refresh_estimates()")[0].decode(0, as: Int32.self))
    }
}
