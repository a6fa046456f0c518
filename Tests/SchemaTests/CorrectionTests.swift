import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// Corrections of transcripts and notes: who makes them, what they change, and what the history keeps.
@Suite("Corrections", .deadline) struct CorrectionTests {
    private static let transcript = """
        {"text": "eins zwei drei", "model": "m", "segments": [
            {"start": 0, "end": 1, "text": "eins", "speaker": "A", "words": [1.50]}, {"start": 1, "end": 2, "text": "zwei"},
            {"start": 2, "end": 3, "text": "drei", "speaker": "A"}]}
        """
    private static let notes = #"{"b": 1.50, "a": 2}"#

    @Test(
        "A user corrects the sessions that Access permits, and nothing but the result changes",
        arguments: AuthorizeSessionTests.cases)
    func sameRule(cell: AuthorizeSessionTests.Case) async throws {
        try await withDatabase { database in
            let stage = try await database.withConnection { try await AuthorizeSessionTests.Stage(cell, on: $0) }
            try await database.storeResults(of: stage.session, Self.transcript, Self.notes)
            let principal = Principal(user: stage.user, signIn: stage.signIn)
            let permitted = Access.permits(.correct, to: cell.role, as: cell.relation)
            let before = try await database.state(of: stage.session)
            try await database.withServerPool(size: 2) { pool in
                let sessions = SessionStore(pool: pool)
                let corrected = try await sessions.correctTranscript(of: stage.session, as: principal) { present in
                    #expect(present?.text == #""eins zwei drei""#)
                    return [SegmentCorrection(index: 1, text: "ZWEI")]
                }
                #expect(corrected?.text == (permitted ? #""eins ZWEI drei""# : nil))
                let isCorrected = try await sessions.correctNotes(of: stage.session, as: principal) { present in
                    #expect(present == Self.notes)
                    return "{}"
                }
                #expect(isCorrected == permitted)
                let history = try await sessions.history(of: stage.session, as: principal)
                #expect(history.count == (permitted ? 2 : 0))
                let items = try await sessions.history(history, of: stage.session, as: principal)
                #expect(items.map(\.kind) == (permitted ? ["notes", "transcript"] : []))
                #expect(items.allSatisfy { $0.replacedBy == stage.user && $0.attempt == 1 })
                #expect(items.first?.content == (permitted ? Self.notes : nil))
            }
            #expect(try await database.state(of: stage.session) == before)
            #expect(try await database.query("SELECT FROM app.result_history").count == (permitted ? 2 : 0))
        }
    }

    @Test("Nobody corrects a session without an acting user, or one that does not exist")
    func nobody() async throws {
        try await withScene { scene in
            try await scene.database.withConnection(as: "therapybridge_server") { connection async throws in
                let row = try await connection.query(
                    """
                    SELECT app.lock_for_correction(\(scene.session)) OR app.correct_notes(\(scene.session), '{}')
                        OR app.correct_transcript(\(scene.session), '[{"index": 0, "text": "x"}]') AS is_corrected
                    """)[0]
                #expect(try row.decode("is_corrected", as: Bool.self) == false)
            }
            #expect(try await scene.correct(.random(), "{}") == false)
            #expect(try await scene.database.query("SELECT FROM app.result_history").isEmpty)
        }
    }

    @Test("A correction replaces text and speaker alone, and the text of the transcript becomes that of its segments")
    func members() async throws {
        try await withScene { scene in
            // The function takes no other member, whatever the server's role sends.
            try await scene.correct(
                transcript:
                    #"[{"index": 2, "text": "DREI", "speaker": null, "start": 9}, {"index": 0, "speaker": "B"}]"#)
            let expected = """
                {"text": "eins zwei DREI", "model": "m", "segments": [
                    {"start": 0, "end": 1, "text": "eins", "speaker": "B", "words": [1.50]},
                    {"start": 1, "end": 2, "text": "zwei"}, {"start": 2, "end": 3, "text": "DREI"}]}
                """
            let row = try await scene.database.query(
                "SELECT body = \(PostgresJSON(text: expected)) AS is_expected, attempt FROM app.transcripts")[0]
            #expect(try row.decode("is_expected", as: Bool.self))
            #expect(try row.decode("attempt", as: Int32.self) == 1)
        }
    }

    @Test("A correction that changes nothing makes no history and no record")
    func unchanged() async throws {
        try await withScene { scene in
            try await scene.correct(transcript: #"[{"index": 1, "text": "zwei", "speaker": null}]"#)
            #expect(try await scene.correct(scene.session, Self.notes) == true)
            #expect(try await scene.database.query("SELECT FROM app.result_history").isEmpty)
            #expect(try await scene.database.audit("action LIKE '%.correct'").isEmpty)
        }
    }

    @Test(
        "A correction of no segment, or of one twice, raises 22023 and changes nothing",
        arguments: [
            #"[{"index": 3, "text": "a"}]"#, #"[{"index": -1, "text": "a"}]"#, #"[{"index": 0.5, "text": "a"}]"#,
            #"[{"index": "0", "text": "a"}]"#, #"[{"text": "a"}]"#, "[7]", "{}", "7", "null",
            #"[{"index": 0, "text": 1}]"#, #"[{"index": 0, "text": null}]"#, #"[{"index": 0, "speaker": 1}]"#,
            #"[{"index": 0, "text": "a"}, {"index": 0, "speaker": "b"}]"#,
            #"[{"index": 0, "text": "a"}, {"index": 1e300, "text": "a"}]"#,
        ])
    func malformed(corrections: String) async throws {
        try await withScene { scene in
            do {
                try await scene.correct(transcript: corrections)
                Issue.record("no refusal")
            } catch let error as PostgresError {
                #expect(error.sqlState == .invalidParameterValue)
                #expect(error.constraintName?.hasPrefix("correction") == true)
            }
            #expect(try await scene.database.query("SELECT FROM app.result_history").isEmpty)
        }
    }

    @Test("There is nothing to correct without a final transcript, and without notes")
    func nothing() async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession(in: .transcribing) }
            let scene = try await CorrectionScene(database, session: session)
            func read() async throws -> Bool? {
                var isFinal: Bool?
                let corrected = try await scene.sessions { sessions in
                    try await sessions.correctTranscript(of: session, as: scene.admin) { present in
                        isFinal = present?.isFinal
                        return []
                    }
                }
                #expect(corrected == nil)
                return isFinal
            }
            #expect(try await read() == nil)
            try await database.query(
                "SELECT app.add_segments(\(session), 1, 0, '[{\"start\": 0, \"end\": 1, \"text\": \"a\"}]', NULL)")
            #expect(try await read() == false)
            #expect(try await scene.correct(session, "{}") == false)
        }
    }

    @Test("Of two corrections at once, the second one decides about the result of the first one")
    func inTurn() async throws {
        try await withScene { scene in
            try await scene.database.withConnection(as: "therapybridge_server") { connection async throws in
                try await connection.executeScript("BEGIN")
                try await connection.act(as: scene.admin)
                _ = try await connection.query("SELECT app.correct_notes(\(scene.session), '{\"first\": true}')")
                async let second = scene.correct(scene.session, #"{"second": true}"#) { present in
                    #expect(present == #"{"first": true}"#)
                }
                try await scene.database.untilSomeoneWaitsForALock()
                try await connection.executeScript("COMMIT")
                #expect(try await second)
            }
            let kept = try await scene.database.query("SELECT body::text AS body FROM app.result_history ORDER BY id")
            #expect(
                try kept.map { try $0.decode("body", as: String.self) } == [Self.notes, #"{"first": true}"#])
        }
    }

    @Test(
        "A correction that waits does nothing after the session was deleted or the right has ended",
        arguments: [
            "DELETE FROM app.therapy_sessions", "UPDATE app.users SET is_active = false WHERE role = 'admin'",
        ])
    func late(end: String) async throws {
        try await withScene { scene in
            try await scene.database.withConnection { connection in
                try await connection.executeScript("BEGIN; SELECT FROM app.session_progress FOR UPDATE; \(end)")
                async let isCorrected = scene.correct(scene.session, "{}")
                try await scene.database.untilSomeoneWaitsForALock()
                try await connection.executeScript("COMMIT")
                #expect(try await isCorrected == false)
            }
            #expect(try await scene.database.query("SELECT FROM app.result_history").isEmpty)
        }
    }

    @Test("A history that has reached a limit takes no correction, and still takes what a pipeline replaces")
    func full() async throws {
        try await withScene { scene in
            let database = scene.database
            let limits = try await database.query("SELECT versions, bytes FROM app.history_limits()")[0]
            #expect(try limits.decode("versions", as: Int64.self) == 1000)
            #expect(try limits.decode("bytes", as: Int64.self) == 256 << 20)
            for limit in ["2, 1000000", "1000, 10"] {
                try await database.withOwner {
                    try await $0.executeScript(
                        """
                        DELETE FROM app.result_history;
                        CREATE OR REPLACE FUNCTION app.history_limits(OUT versions bigint, OUT bytes bigint)
                        LANGUAGE plpgsql AS $$ BEGIN SELECT \(limit) INTO versions, bytes; END $$
                        """)
                }
                // The first of the two finds the history empty. In the second round, it keeps 2 bytes.
                for number in 0..<2 { #expect(try await scene.correct(scene.session, "{\"number\": \(number)}")) }
                for _ in 0..<2 {
                    do {
                        _ = try await scene.correct(scene.session, "{}")
                        Issue.record("no refusal")
                    } catch let error as PostgresError {
                        #expect(error.sqlState == .checkViolation)
                        #expect(error.constraintName == "history_full")
                    }
                }
                try await database.query("SELECT app.store_notes(\(scene.session), 1, '{}')")
                #expect(try await database.query("SELECT FROM app.result_history").count == 3)
            }
        }
    }

    @Test("The history keeps results through a retry, and what the new attempt replaces")
    func retried() async throws {
        try await withScene { scene in
            let (database, session) = (scene.database, scene.session)
            #expect(try await scene.correct(session, "{}"))
            try await database.query("UPDATE app.therapy_sessions SET recording = 'key'")
            try await database.query("SELECT app.retry_session(\(session), again => true)")
            #expect(try await database.query("SELECT FROM app.result_history").count == 1)
            // People can correct the earlier results until there are new ones.
            #expect(try await scene.correct(session, #"{"again": 1}"#))
            let claim = try #require(
                try await database.withConnection(as: "therapybridge_pipeline") { try await $0.claim() })
            try await database.withConnection(as: "therapybridge_pipeline") { worker async throws in
                try await worker.report(Report("transcribing", 30, lease: claim.lease), session)
                _ = try await worker.query(
                    "SELECT app.store_notes(\(session), \(Int32(claim.attempt)), '{\"new\": 1}', \(claim.lease))")
            }
            let kept = try await database.query(
                "SELECT attempt, body::text AS body, replaced_by FROM app.result_history ORDER BY id")
            #expect(
                try kept.map { try $0.decode("body", as: String.self) } == [Self.notes, "{}", #"{"again": 1}"#])
            #expect(
                try kept.map { try $0.decode("replaced_by", as: UserID?.self) }
                    == [scene.admin.user, scene.admin.user, nil])
        }
    }

    @Test("A worker that stores the same result again, because its answer was lost, does not undo a correction")
    func repeated() async throws {
        try await withDatabase { database in
            let claim = try await database.claimedSession(in: ["transcribing"])
            let scene = try await CorrectionScene(database, session: claim.session)
            func store(_ transcript: String, _ notes: String) async throws {
                try await database.withConnection(as: "therapybridge_pipeline") { worker async throws in
                    _ = try await worker.query(
                        "SELECT app.store_transcript(\(claim.session), 1, \(PostgresJSON(text: transcript)), \(claim.lease))"
                    )
                    _ = try await worker.query(
                        "SELECT app.store_notes(\(claim.session), 1, \(notes)::text::json, \(claim.lease))")
                }
            }
            func present() async throws -> String {
                try await database.query(
                    "SELECT t.body ->> 'text' || n.body::text AS both FROM app.transcripts t JOIN app.notes n USING (session_id)"
                )[0].decode("both", as: String.self)
            }
            try await store(Self.transcript, Self.notes)
            try await scene.correct(transcript: #"[{"index": 1, "text": "ZWEI"}]"#)
            #expect(try await scene.correct(claim.session, "{}"))
            try await store(Self.transcript, Self.notes)
            #expect(try await present() == "eins ZWEI drei{}")
            #expect(try await database.query("SELECT FROM app.result_history").count == 2)
            // Another result is a new one.
            try await store(#"{"text": "a", "segments": []}"#, #"{"new": 1}"#)
            #expect(try await present() == #"a{"new": 1}"#)
            // And the first one again is another one.
            try await store(Self.transcript, Self.notes)
            #expect(try await present() == "eins zwei drei" + Self.notes)
            #expect(try await database.query("SELECT FROM app.result_history").count == 6)
        }
    }

    @Test("An operator can store the pipeline's result again, and so undo a correction")
    func undone() async throws {
        try await withScene { scene in
            try await scene.correct(transcript: #"[{"index": 1, "text": "ZWEI"}]"#)
            #expect(try await scene.correct(scene.session, "{}"))
            for statement in [
                "SELECT app.store_transcript(\(scene.session), 1, \(PostgresJSON(text: Self.transcript)))",
                "SELECT app.store_notes(\(scene.session), 1, \(Self.notes)::text::json)",
            ] as [PostgresQuery] {
                try await scene.database.query(statement)
            }
            let row = try await scene.database.query(
                "SELECT t.body ->> 'text' AS text, n.body::text AS notes FROM app.transcripts t JOIN app.notes n USING (session_id)"
            )[0]
            #expect(try row.decode("text", as: String.self) == "eins zwei drei")
            #expect(try row.decode("notes", as: String.self) == Self.notes)
        }
    }

    @Test(
        "A correction that the server has not recorded leaves a record, and one that it has recorded leaves no second one"
    )
    func recorded() async throws {
        try await withScene { scene in
            func records() async throws -> [AuditEntry] { try await scene.database.audit("action = 'notes.correct'") }
            #expect(try await scene.correct(scene.session, #"{"a": 1}"#))
            #expect(try await records().map(\.user) == [scene.admin.user])
            // A record without a request is one of the trigger. It stands for no later correction.
            #expect(try await scene.correct(scene.session, #"{"a": 2}"#))
            #expect(try await records().count == 2)
            try await scene.database.query(
                """
                SELECT FROM app.admit(\([scene.admin.user]), \([scene.admin.signIn]), \([scene.session]),
                    ARRAY['notes.correct'], ARRAY['correct'], ARRAY['request'])
                """)
            #expect(try await scene.correct(scene.session, #"{"a": 3}"#))
            #expect(try await records().map(\.requestID) == [nil, nil, "request"])
        }
    }

    @Test("A correction wakes no stream: it changes no progress, and leaves no hint")
    func noHint() async throws {
        try await withScene { scene in
            try await withNotifications(of: scene.database) { notifications in
                _ = try await notifications.received()
                let hints = try await scene.database.query("SELECT FROM app.hint_log").count
                #expect(try await scene.correct(scene.session, "{}"))
                try await scene.correct(transcript: #"[{"index": 1, "text": "ZWEI"}]"#)
                #expect(try await notifications.received() == [])
                #expect(try await scene.database.query("SELECT FROM app.hint_log").count == hints)
            }
        }
    }

    /// Lends a processed session with a transcript and notes, and an administrator who corrects them.
    private func withScene(_ body: (CorrectionScene) async throws -> Void) async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession() }
            try await database.storeResults(of: session, Self.transcript, Self.notes)
            try await body(try await CorrectionScene(database, session: session))
        }
    }
}

/// A session, and an administrator who corrects its results.
private struct CorrectionScene: Sendable {
    let database: TestDatabase
    let session: SessionID
    let admin: Principal

    init(_ database: TestDatabase, session: SessionID) async throws {
        self.database = database
        self.session = session
        let user = try await database.addUser(.admin)
        admin = Principal(user: user, signIn: try await database.addSignIn(of: user))
    }

    func sessions<Result: Sendable>(_ body: (SessionStore) async throws -> Result) async throws -> Result {
        try await database.withServerPool(size: 1) { try await body(SessionStore(pool: $0)) }
    }

    /// Corrects the notes of a session.
    func correct(
        _ session: SessionID, _ notes: String, seeing check: @Sendable (String?) -> Void = { _ in }
    ) async throws -> Bool {
        try await sessions { sessions in
            try await sessions.correctNotes(of: session, as: admin) { present in
                check(present)
                return notes
            }
        }
    }

    /// Corrects the transcript by the function of the database, with any JSON.
    func correct(transcript corrections: String) async throws {
        try await database.withConnection(as: "therapybridge_server") { connection async throws in
            let row = try await connection.query(
                "SELECT app.correct_transcript(\(session), \(PostgresJSON(text: corrections))) AS is_corrected",
                as: admin)[0]
            #expect(try row.decode("is_corrected", as: Bool.self))
        }
    }
}

extension TestDatabase {
    /// Stores a transcript and notes, and reports a session as processed.
    fileprivate func storeResults(of session: SessionID, _ transcript: String, _ notes: String) async throws {
        try await report(session, .transcribing, 30)
        try await query("SELECT app.store_transcript(\(session), 1, \(PostgresJSON(text: transcript)))")
        try await query("SELECT app.store_notes(\(session), 1, \(notes)::text::json)")
        try await report(session, .transcribed, 60)
        try await report(session, .processed, 100)
    }

    /// The progress of a session, and its columns, as text.
    fileprivate func state(of session: SessionID) async throws -> String {
        try await query(
            """
            SELECT p::text || t::text AS state FROM app.session_progress p JOIN app.therapy_sessions t ON t.id = p.session_id
            WHERE t.id = \(session)
            """
        )[0].decode("state", as: String.self)
    }
}
