import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// Transcripts and notes that a pipeline stores by SQL.
@Suite(.deadline) struct ResultTests {
    @Test(
        "The worker with the lease stores a transcript or notes, and replaces them when it stores again",
        arguments: [
            (
                "transcript", "transcripts", #"{"text": "a", "segments": []}"#,
                #"{"text": "b", "segments": [{"start": 0, "end": 1, "text": "b"}]}"#
            ),
            ("notes", "notes", #"{"mood": "calm"}"#, #"{}"#),
        ])
    func stored(name: String, table: String, first: String, second: String) async throws {
        try await withDatabase { database in
            let claim = try await database.claimedSession()
            let session = claim.session
            for body in [first, second] {
                try await database.query(
                    """
                    SELECT \(unescaped: "app.store_\(name)")(
                        \(session), 1, \(body)::\(unescaped: name == "notes" ? "json" : "jsonb"), \(claim.lease))
                    """,
                    as: "therapybridge_pipeline")
                let row = try await database.query(
                    """
                    SELECT body::jsonb = \(PostgresJSON(text: body)) AS is_same, attempt
                    FROM \(unescaped: "app.\(table)") WHERE session_id = \(session)
                    """)[0]
                #expect(try row.decode("is_same", as: Bool.self))
                #expect(try row.decode("attempt", as: Int32.self) == 1)
            }
        }
    }

    @Test(
        "The log records a result that an operator stores after the session has finished",
        arguments: [SessionStatus.processed, .failed])
    func corrected(status: SessionStatus) async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession(in: .extractingNotes) }
            // The same result again would change nothing.
            var stored = 0
            func store() async throws {
                stored += 1
                try await database.query(
                    "SELECT app.store_transcript(\(session), 1, \(PostgresJSON(text: #"{"text": "\#(stored)", "segments": []}"#)))"
                )
                try await database.query(
                    "SELECT app.store_notes(\(session), 1, json_build_object('number', \(Int32(stored))))")
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
            #expect(recorded.allSatisfy { $0.databaseRole == "postgres" })
        }
    }

    @Test("The log records a result that replaces one of another attempt")
    func replaced() async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession(in: .transcribing) }
            for attempt in 1...2 as ClosedRange<Int32> {
                try await database.query("SELECT app.report_progress(\(session), 'transcribing', 30)")
                try await database.query("SELECT app.store_notes(\(session), \(attempt), '{}')")
                for status in ["failed", "pending"] {
                    try await database.query("SELECT app.report_progress(\(session), \(status), 0)")
                }
            }
            let records = try await database.audit("action LIKE '%.correct'")
            #expect(records.map(\.action) == ["notes.correct"])
            #expect(records.map(\.session) == [session])
        }
    }

    @Test("The history keeps each result that a different one replaces, and not the same one stored again")
    func history() async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession(in: .transcribing) }
            for body in [#"{"b": 1, "a": 2}"#, #"{"b": 1, "a": 2}"#, #"{"a": 2, "b": 1}"#, "{}"] {
                try await database.query("SELECT app.store_notes(\(session), 1, \(body)::text::json)")
            }
            for text in ["a", "b"] {
                let transcript = PostgresJSON(text: #"{"text": "\#(text)", "segments": []}"#)
                try await database.query("SELECT app.store_transcript(\(session), 1, \(transcript))")
            }
            let kept = try await database.query(
                "SELECT kind, attempt, body::text, replaced_by FROM app.result_history ORDER BY id"
            ).map { row in
                #expect(try row.decode("attempt", as: Int32.self) == 1)
                #expect(try row.decode("replaced_by", as: UserID?.self) == nil)
                return try row.decode("kind", as: String.self) + " " + row.decode("body", as: String.self)
            }
            // The members of notes stay in their order. Another order is another document.
            #expect(
                kept == [
                    #"notes {"b": 1, "a": 2}"#, #"notes {"a": 2, "b": 1}"#,
                    #"transcript {"text": "a", "segments": []}"#,
                ])
        }
    }

    @Test("A correction in psql is in the history too, and the history names the acting user who replaced a result")
    func correction() async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession(in: .transcribing) }
            try await database.query("SELECT app.store_notes(\(session), 1, '{}')")
            let admin = try await database.addUser(.admin)
            let principal = Principal(user: admin, signIn: try await database.addSignIn(of: admin))
            try await database.withConnection {
                _ = try await $0.query(
                    "UPDATE app.notes SET body = '[]' WHERE session_id = \(session)", as: principal)
            }
            let row = try await database.query("SELECT kind, replaced_by FROM app.result_history")[0]
            #expect(try row.decode("kind", as: String.self) == "notes")
            #expect(try row.decode("replaced_by", as: UserID.self) == admin)
        }
    }

    @Test("A user who may read the notes of a session may read their history", arguments: Role.allCases, [true, false])
    func historyReaders(role: Role, isTied: Bool) async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            let reader = role == .patient && isTied ? patient : try await database.addUser(role)
            if role == .therapist && isTied { try await database.assign(reader, to: patient) }
            let session = try await database.addSession(of: patient)
            for body in ["{}", "[]"] {
                try await database.query(
                    "INSERT INTO app.notes (session_id, attempt, body) VALUES (\(session.rawValue), 1, \(body)::text::json) ON CONFLICT (session_id) DO UPDATE SET body = excluded.body"
                )
            }
            let principal = Principal(user: reader, signIn: try await database.addSignIn(of: reader))
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                let rows = try await connection.query("SELECT FROM app.result_history", as: principal)
                #expect(rows.count == (role == .admin || role == .therapist && isTied ? 1 : 0))
                #expect(try await connection.query("SELECT FROM app.result_history").isEmpty)
            }
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
                            "SELECT \(unescaped: "app.\(function)(")\(session), \(attempt), \(unescaped: "'\(body)')")"
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
            #"app.store_transcript($1, 1, '{"text": "a", "segments": [], "duration_seconds": -1}')"#,
            #"app.store_transcript($1, 1, '{"text": "a", "segments": [], "duration_seconds": "1"}')"#,
            #"app.store_transcript($1, 1, '{"text": "a", "segments": [], "announced_seconds": 1e300}')"#,
            #"app.store_transcript($1, 1, '{"text": "a", "segments": [], "is_final": 1}')"#,
            #"app.store_transcript($1, 1, '{"text": 1, "segments": [], "is_final": false}')"#,
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

    @Test("The deletion of a session deletes its transcript, notes, their history, progress, transitions and lease")
    func deletion() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                let claim = try #require(try await connection.claim())
                _ = try await connection.query(claim.storeTranscript)
                _ = try await connection.query(claim.storeNotes)
                _ = try await connection.query("SELECT app.store_notes(\(session), 1, '{\"a\": 1}')")
                #expect(try await connection.query("SELECT FROM app.result_history").count == 1)
                try await database.query(
                    "DELETE FROM app.therapy_sessions WHERE id = \(session)")
                for table in [
                    "transcripts", "transcript_segments", "notes", "result_history", "session_progress",
                    "session_events", "session_leases",
                ] {
                    #expect(try await connection.query("SELECT FROM \(unescaped: "app.\(table)")").isEmpty, "\(table)")
                }
            }
        }
    }
}
