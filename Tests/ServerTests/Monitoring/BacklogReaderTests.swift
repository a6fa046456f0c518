import Domain
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// What the database says about the queue and the audit log, in the metrics of a running server.
@Suite(.deadline) struct BacklogReaderTests {
    @Test("The metrics show how many sessions a worker could claim, how long the oldest has waited, and audit records")
    func backlog() async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            for name in ["claimed.wav", "lapsed.wav", "waiting.wav"] {
                try await database.query(
                    """
                    INSERT INTO app.therapy_sessions (patient_id, recording, filename, bytes)
                    VALUES (\(patient.rawValue), \(name), \(name), 10)
                    """)
            }
            // A session without a recording waits for one.
            _ = try await database.addSession(of: patient)
            for _ in 1...2 { try await database.query("SELECT FROM app.claim_session('worker', '1 hour')") }
            try await database.query(
                """
                UPDATE app.session_leases
                SET leased_until = clock_timestamp() - interval '1 second', queued_at = queued_at - interval '1 hour'
                WHERE session_id = (SELECT id FROM app.therapy_sessions WHERE recording = 'lapsed.wav')
                """)
            try await withServer(over: database) { server in
                let admin = try await server.token(try await database.addUser(.admin))
                func scrape() async throws -> Scrape {
                    try Scrape(try await server.request(.GET, "/metrics", token: admin).text)
                }
                try await eventually("the queue is measured") {
                    try await scrape().value("therapybridge_queue_waiting") == 2
                }
                try await eventually("the audit log is measured") {
                    try await scrape().value("therapybridge_audit_records_total") != nil
                }
                let oldest = try #require(try await scrape().value("therapybridge_queue_oldest_seconds"))
                #expect((3600..<7200).contains(oldest))
                let records = try #require(try await scrape().value("therapybridge_audit_records_total"))
                let rows = try await database.query("SELECT count(*) FROM app.audit_log")
                let present = try rows[0].decode(0, as: Int64.self)
                #expect((1...Double(present)).contains(records))
            }
        }
    }
}
