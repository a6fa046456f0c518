import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// Concurrent writers.
@Suite(.deadline) struct ConcurrencyTests {
    @Test("Concurrent reports of one session lose no update: the versions have no gap")
    func noLostUpdate() async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession(in: .transcribing) }
            let versions = try await withThrowingTaskGroup(of: [Int].self) { group in
                for writer in 0..<8 {
                    group.addTask {
                        try await database.withConnection(as: "therapybridge_pipeline") { connection in
                            var versions: [Int] = []
                            for turn in 0..<40 {
                                let report = Report("transcribing", 30, message: "writer \(writer), turn \(turn)")
                                versions.append(try await connection.report(report, session))
                            }
                            return versions
                        }
                    }
                }
                return try await group.reduce(into: [[Int]]()) { $0.append($1) }
            }
            #expect(versions.flatMap { $0 }.sorted() == Array(3...322))
            for own in versions { #expect(own == own.sorted(), "the reports of one writer stay in order") }
            #expect(
                try await database.withConnection { try await $0.progress(of: session).version } == 322)
        }
    }

    @Test("A transition that many writers report at once happens once")
    func oneTransition() async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession() }
            let versions = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<20 {
                    group.addTask {
                        try await database.withConnection(as: "therapybridge_pipeline") {
                            try await $0.report(Report("transcribing", 20), session)
                        }
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(versions == Array(repeating: 2, count: 20))
            try await database.withConnection { connection async throws in
                #expect(try await connection.transitions(of: session).map(\.0) == [1, 2])
            }
        }
    }

    @Test("Concurrent retries raise the attempt once")
    func oneRetry() async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession(in: .failed, recording: "key") }
            let refusals = try await withThrowingTaskGroup(of: SQLState?.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        try await database.withConnection {
                            try await $0.refusal(of: "SELECT app.retry_session(\(session))")
                        }
                    }
                }
                return try await group.reduce(into: [SQLState?]()) { $0.append($1) }
            }
            #expect(refusals.filter { $0 == nil }.count == 1)
            #expect(refusals.filter { $0 == .checkViolation }.count == 7)
            #expect(try await database.withConnection { try await $0.progress(of: session).attempt } == 2)
        }
    }

    @Test("A transcript without a length keeps the length that a worker measures while the transcript waits for a lock")
    func lengthMeetsTranscript() async throws {
        try await withDatabase { database in
            try await database.withConnection { holder in
                let session = try await holder.addSession(in: .transcribing, recording: "key")
                try await holder.executeScript("BEGIN")
                _ = try await holder.query(
                    "SELECT FROM app.session_progress WHERE session_id = \(session) FOR NO KEY UPDATE")
                async let stored = database.query(
                    #"""
                    SELECT app.store_transcript(
                        \#(session), 1, '{"text": "", "segments": [{"start": 0, "end": 70, "text": "a"}]}')
                    """#)
                try await database.untilSomeoneWaitsForALock()
                try await database.query("SELECT app.set_length(\(session), 60, 65)")
                try await holder.executeScript("COMMIT")
                _ = try await stored
                let row = try await holder.query(
                    """
                    SELECT t.duration_seconds, t.announced_seconds, r.body #>> '{segments,0,end}' AS last
                    FROM app.therapy_sessions t JOIN app.transcripts r ON r.session_id = t.id
                    """)[0]
                #expect(try row.decode("duration_seconds", as: Double?.self) == 60)
                #expect(try row.decode("announced_seconds", as: Double?.self) == 65)
                #expect(try row.decode("last", as: String.self) == "60", "the segment ends with the recording")
            }
        }
    }

    @Test("A session that is retried while it moves to another patient waits among the sessions of that patient")
    func correctionMeetsRetry() async throws {
        try await withDatabase { database in
            let other = try await database.addUser(.patient)
            try await database.withConnection { worker in
                let session = try await worker.addSession(in: .failed, recording: "key")
                try await worker.executeScript("BEGIN")
                _ = try await worker.query("SELECT app.retry_session(\(session))")
                async let moved = database.query(
                    "UPDATE app.therapy_sessions SET patient_id = \(other) WHERE id = \(session) RETURNING id")
                try await database.untilSomeoneWaitsForALock()
                try await worker.executeScript("COMMIT")
                #expect(try await moved.count == 1)
                let patient = try await worker.query("SELECT patient_id FROM app.session_leases")[0]
                    .decode("patient_id", as: UserID.self)
                #expect(patient == other)
            }
        }
    }

    /// The race between a deletion and a report.
    ///
    /// A report holds the row of progress and then writes rows that refer to the session. A deletion holds the session
    /// and then waits for the row of progress. If the report also had to lock the session, the two would deadlock.
    @Test(
        "A deletion and a writing worker do not deadlock",
        arguments: [
            "SELECT app.report_progress($1, 'transcribed', 60)", "SELECT app.report_progress($1, 'failed', 60)",
            #"SELECT app.store_transcript($1, 1, '{"text": "", "segments": []}')"#,
            "SELECT app.store_notes($1, 1, '{}')",
        ])
    func deletionMeetsReport(statement: String) async throws {
        try await withDatabase { database in
            try await database.withConnection { worker in
                let session = try await worker.addSession(in: .transcribing, recording: "key")
                try await worker.executeScript("BEGIN")
                // Each of these functions holds this lock when the deletion arrives.
                _ = try await worker.query(
                    "SELECT FROM app.session_progress WHERE session_id = \(session) FOR NO KEY UPDATE")
                async let deleted = database.query(
                    "DELETE FROM app.therapy_sessions WHERE id = \(session) RETURNING id")
                try await database.untilSomeoneWaitsForALock()
                var bindings = PostgresBindings()
                bindings.append(session)
                #expect(
                    try await worker.refusal(of: PostgresQuery(unescaped: statement, bindings: bindings)) == nil)
                try await worker.executeScript("COMMIT")
                #expect(try await deleted.count == 1)
            }
        }
    }
}
