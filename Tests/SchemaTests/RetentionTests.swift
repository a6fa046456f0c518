import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// What the server removes after the times of `RETAIN_…`.
@Suite(.deadline) struct RetentionTests {
    private static let hour = Duration.seconds(3600)

    private func withStore(
        _ body: @escaping @Sendable (TestDatabase, RetentionStore) async throws -> Void
    ) async throws {
        try await withDatabase { database in
            try await database.withServerPool(size: 2) { try await body(database, RetentionStore(pool: $0)) }
        }
    }

    private func count(_ rows: String, _ database: TestDatabase) async throws -> Int64 {
        try await database.query("SELECT count(*) AS total FROM \(unescaped: rows)")[0].decode("total", as: Int64.self)
    }

    @Test("Old transitions go, but the latest one of each session stays, and young ones do")
    func events() async throws {
        try await withStore { database, store in
            let patient = try await database.addUser(.patient)
            let (old, young) = (try await database.addSession(of: patient), try await database.addSession(of: patient))
            for session in [old, young] { try await database.report(session, .transcribing, 20) }
            try await database.query(
                "UPDATE app.session_events SET at = at - interval '2 hours' WHERE session_id = \(old)")
            #expect(try await store.deleteEvents(olderThan: Self.hour) == 1)
            #expect(try await store.deleteEvents(olderThan: Self.hour) == 0)
            let left = try await database.query(
                "SELECT session_id, status FROM app.session_events ORDER BY session_id = \(young), version")
            #expect(
                try left.map { try $0.decode("status", as: String.self) } == [
                    "transcribing", "pending", "transcribing",
                ])
        }
    }

    @Test("More transitions than one batch go in one call")
    func batches() async throws {
        try await withStore { database, store in
            let session = try await database.addSession(of: try await database.addUser(.patient))
            try await database.query(
                """
                INSERT INTO app.session_events (session_id, version, attempt, status, progress, at)
                SELECT \(session), n, 1, 'pending', 0, now() - interval '2 hours' FROM generate_series(2, 2600) AS n
                """)
            #expect(try await store.deleteEvents(olderThan: Self.hour) >= 2598)
            #expect(try await count("app.session_events", database) <= 2)
        }
    }

    @Test(
        "Only a session that has been finished for longer loses its recording, and its file is listed for removal",
        arguments: [SessionStatus.processed, .failed])
    func recordings(_ end: SessionStatus) async throws {
        try await withStore { database, store in
            let patient = try await database.addUser(.patient)
            var sessions: [SessionID] = []
            for _ in 0..<3 { sessions.append(try await database.addSession(of: patient)) }
            for session in sessions {
                try await database.query(
                    "UPDATE app.therapy_sessions SET recording = id::text, bytes = 9 WHERE id = \(session)")
            }
            // The first is finished long ago, the second now, and the third is at work.
            for session in sessions {
                try await database.report(session, .transcribing, 20)
                if session != sessions[2] {
                    if end == .processed { try await database.report(session, .transcribed, 60) }
                    try await database.report(session, end, end == .processed ? 100 : 20)
                }
            }
            // The triggers would set the time again.
            try await database.withConnection { connection in
                try await connection.stage(
                    """
                    UPDATE app.session_progress SET updated_at = updated_at - interval '2 hours'
                    WHERE session_id = ANY (\([sessions[0], sessions[2]]))
                    """)
            }
            #expect(try await store.discardRecordings(olderThan: Self.hour) == 1)
            #expect(try await store.discardRecordings(olderThan: Self.hour) == 0)
            let rows = try await database.query("SELECT id, bytes FROM app.therapy_sessions WHERE recording IS NULL")
            #expect(try rows.map { try $0.decode("id", as: SessionID.self) } == [sessions[0]])
            #expect(try rows[0].decode("bytes", as: Int64?.self) == 9)
            let discarded = try await database.query("SELECT recording FROM app.discarded_recordings")
            #expect(try discarded.map { try $0.decode("recording", as: String.self) } == ["\(sessions[0])"])
        }
    }

    @Test("Old records of the audit log go, a whole month at once, and each removal leaves a record")
    func audit() async throws {
        try await withStore { database, store in
            try await database.query(
                """
                INSERT INTO app.audit_log (at, action)
                SELECT now() - make_interval(days => n), 'session.read' FROM generate_series(0, 400, 10) AS n
                """)
            try await database.query("SELECT app.add_audit_partition() FROM generate_series(1, 20)")
            let old = "app.audit_log WHERE at < now() - interval '45 days' AND action = 'session.read'"
            let young = "app.audit_log WHERE at >= now() - interval '45 days' AND action = 'session.read'"
            let kept = try await count(young, database)
            #expect(kept == 5)
            while try await store.deleteAudit(olderThan: .seconds(45 * 86_400)) > 0 {}
            #expect(try await count(old, database) == 0)
            #expect(try await count(young, database) == kept)
            #expect(try await count("app.audit_log WHERE action = 'audit.remove'", database) > 0)
        }
    }

    @Test("The server cannot remove these things without the functions")
    func rights() async throws {
        try await withDatabase { database in
            for statement in ["DELETE FROM app.session_events", "DELETE FROM app.audit_log"] {
                let state = try await database.withConnection(as: "therapybridge_server") {
                    try await $0.refusal(of: "\(unescaped: statement)")
                }
                #expect(state == .insufficientPrivilege, "\(statement)")
            }
        }
    }
}
