import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// Transcripts and notes that a pipeline stores by SQL.
@Suite(.deadline) struct ResultTests {
    @Test(
        "The present attempt stores a transcript or notes, and replaces them when it stores again",
        arguments: [
            ("transcript", "transcripts", #"{"text": "a", "segments": []}"#, #"{"text": "b", "segments": [1]}"#),
            ("notes", "notes", #"{"mood": "calm"}"#, #"{}"#),
        ])
    func stored(name: String, table: String, first: String, second: String) async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession(in: .transcribing) }
            for body in [first, second] {
                try await database.query(
                    "SELECT \(unescaped: "app.store_\(name)")(\(session), 1, \(PostgresJSON(text: body)))",
                    as: "therapybridge_pipeline")
                let row = try await database.query(
                    """
                    SELECT body = \(PostgresJSON(text: body)) AS is_same, attempt
                    FROM \(unescaped: "app.\(table)") WHERE session_id = \(session)
                    """)[0]
                #expect(try row.decode("is_same", as: Bool.self))
                #expect(try row.decode("attempt", as: Int32.self) == 1)
            }
        }
    }

    @Test(
        "The log records a result that is stored after the session has finished",
        arguments: [SessionStatus.processed, .failed])
    func corrected(status: SessionStatus) async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession(in: .extractingNotes) }
            func store() async throws {
                try await database.query(
                    "SELECT app.store_transcript(\(session), 1, '{\"text\": \"\", \"segments\": []}')",
                    as: "therapybridge_pipeline")
                try await database.query(
                    "SELECT app.store_notes(\(session), 1, '{}')", as: "therapybridge_pipeline")
            }
            func records() async throws -> [AuditEntry] { try await database.audit("action LIKE '%.correct'") }
            for _ in 0..<2 { try await store() }
            #expect(try await records().isEmpty)
            try await database.query("SELECT app.report_progress(\(session), \(status.rawValue), 100)")
            try await store()
            let recorded = try await records()
            #expect(recorded.map(\.action) == ["transcript.correct", "notes.correct"])
            #expect(recorded.allSatisfy { $0.session == session })
            #expect(recorded.allSatisfy { $0.patient != nil })
            #expect(recorded.allSatisfy { $0.user == nil })
            #expect(recorded.allSatisfy { $0.databaseRole == "therapybridge_pipeline" })
        }
    }

    @Test("The log records a result that replaces one of another attempt")
    func replaced() async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession(in: .transcribing) }
            for attempt in 1...2 as ClosedRange<Int32> {
                try await database.query("SELECT app.report_progress(\(session), 'transcribing', 30)")
                try await database.query(
                    "SELECT app.store_notes(\(session), \(attempt), '{}')", as: "therapybridge_pipeline")
                for status in ["failed", "pending"] {
                    try await database.query("SELECT app.report_progress(\(session), \(status), 0)")
                }
            }
            let records = try await database.audit("action LIKE '%.correct'")
            #expect(records.map(\.action) == ["notes.correct"])
            #expect(records.map(\.session) == [session])
        }
    }

    @Test(
        "Another attempt raises 23514, and an unknown session raises P0002",
        arguments: [
            ("store_transcript", #"{"text": "a", "segments": []}"#), ("store_notes", "{}"),
        ])
    func refused(function: String, body: String) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                func refusal(_ session: SessionID, _ attempt: Int32?) async throws -> SQLState? {
                    try await connection.refusal(
                        of:
                            "SELECT \(unescaped: "app.\(function)")(\(session), \(attempt), \(PostgresJSON(text: body)))"
                    )
                }
                let session = try await connection.addSession(in: .transcribing)
                #expect(try await refusal(session, 2) == .checkViolation)
                #expect(try await refusal(session, 0) == .checkViolation)
                #expect(try await refusal(session, nil) == .checkViolation)
                #expect(try await refusal(.random(), 1) == .noDataFound)
            }
        }
    }

    @Test(
        "A wrong shape raises 22023",
        arguments: [
            "app.store_transcript($1, 1, '{}')", #"app.store_transcript($1, 1, '{"text": "a"}')"#,
            #"app.store_transcript($1, 1, '{"text": 1, "segments": []}')"#,
            #"app.store_transcript($1, 1, '{"text": "a", "segments": {}}')"#, "app.store_transcript($1, 1, '[]')",
            "app.store_transcript($1, 1, NULL)", "app.store_notes($1, 1, '[]')", "app.store_notes($1, 1, '\"x\"')",
            "app.store_notes($1, 1, NULL)",
        ])
    func misshapen(call: String) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                var bindings = PostgresBindings()
                bindings.append(try await connection.addSession(in: .transcribing))
                #expect(
                    try await connection.refusal(of: PostgresQuery(unescaped: "SELECT \(call)", bindings: bindings))
                        == .invalidParameterValue)
            }
        }
    }

    @Test("The deletion of a session deletes its transcript, notes, progress, transitions and lease")
    func deletion() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                let claim = try #require(try await connection.claim())
                _ = try await connection.query(claim.storeTranscript)
                _ = try await connection.query(claim.storeNotes)
                try await database.query(
                    "DELETE FROM app.therapy_sessions WHERE id = \(session)")
                for table in ["transcripts", "notes", "session_progress", "session_events", "session_leases"] {
                    #expect(try await connection.query("SELECT FROM \(unescaped: "app.\(table)")").isEmpty, "\(table)")
                }
            }
        }
    }
}
