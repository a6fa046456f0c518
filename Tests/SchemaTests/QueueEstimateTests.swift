import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The estimates of sessions that wait, and the refresh of all estimates as time passes.
///
/// With the history of these tests, a recording of 600 s needs 511 s of work.
@Suite(.deadline) struct QueueEstimateTests {
    @Test("A session that joins the queue counts the work before it, shared by the workers whose leases stand")
    func joins() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                // Upload a recording: the session becomes pending with it.
                func join() async throws -> Int? {
                    let session = try await connection.addSession(in: .uploading)
                    _ = try await connection.query(
                        """
                        UPDATE app.therapy_sessions SET recording = \("key \(session)"), media_type = 'audio/ogg',
                            duration_seconds = 600
                        WHERE id = \(session)
                        """)
                    try await connection.report(Report("pending", 20), session)
                    return try await connection.progress(of: session).estimate
                }
                #expect(try await join() == 511)
                #expect(try await join() == 2 * 511)
                // A worker has the first one, and nothing of its work is done yet.
                let first = try #require(try await connection.claim())
                #expect(try await join() == 3 * 511)
                // Its stage has half a minute left.
                try await connection.report(Report("extracting_notes", 80, estimate: 30), on: first)
                #expect(try await isAbout(30 + 3 * 511, join()))
                // With two workers, two sessions at a time.
                let second = try #require(try await connection.claim())
                try await connection.report(Report("extracting_notes", 80, estimate: 30), on: second)
                #expect(try await isAbout((30 + 30 + 2 * 511) / 2 + 511, join()))
            }
        }
    }

    @Test("The refresh counts by the turns of patients, and each session of a patient comes after those before it")
    func turns() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                let (busy, other) = try await (database.addUser(.patient), database.addUser(.patient))
                var sessions: [SessionID] = []
                for patient in [busy, busy, busy, other] {
                    sessions.append(try await connection.addRecording(seconds: 600, of: patient))
                }
                try await connection.refresh()
                var estimates: [Int?] = []
                for session in sessions { estimates.append(try await connection.progress(of: session).estimate) }
                #expect(estimates == [511, 3 * 511, 4 * 511, 2 * 511])
            }
        }
    }

    @Test("A refresh writes what is far off and nothing else, one version each, and only every few seconds")
    func bounds() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                var sessions: [SessionID] = []
                for _ in 0..<4 { sessions.append(try await connection.addRecording(seconds: 600)) }
                #expect(try await connection.refresh() == 4)
                for session in sessions { #expect(try await connection.progress(of: session).version == 2) }
                #expect(try await connection.refresh() == 0)
                // A claim of the first one moves the others, and writes nothing about them.
                let claim = try #require(try await connection.claim())
                try await connection.report(Report("extracting_notes", 80, estimate: 1), on: claim)
                for session in sessions.dropFirst() {
                    #expect(try await connection.progress(of: session).version == 2)
                }
                // A call so soon after the last one does nothing.
                #expect(try await connection.query("SELECT app.refresh_estimates()")[0].decode(0, as: Int32.self) == 0)
                try await connection.refresh()
                for session in sessions.dropFirst() {
                    #expect(try await connection.progress(of: session).version == 3)
                    #expect(try await connection.transitions(of: session).count == 1)
                }
            }
        }
    }

    @Test("However many sessions wait, a refresh writes 200 of them, the next ones first, and a claim none")
    func manySessions() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                _ = try await connection.query(
                    """
                    WITH patients AS (
                        INSERT INTO app.users (id, email, full_name, role)
                        SELECT gen_random_uuid(), n || '@queue.example', 'Test Person', 'patient'
                        FROM generate_series(1, 1000) AS n RETURNING id)
                    INSERT INTO app.therapy_sessions (patient_id, recording, media_type, duration_seconds)
                    SELECT id, 'key ' || id, 'audio/ogg', 600 FROM patients
                    """)
                func estimated() async throws -> Int {
                    try await connection.count(
                        "SELECT count(*) FROM app.session_progress WHERE estimated_time_remaining IS NOT NULL")
                }
                // A long queue is not counted for each session that joins it.
                let late = try await connection.addSession(in: .uploading)
                _ = try await connection.query(
                    """
                    UPDATE app.therapy_sessions SET recording = 'late', media_type = 'audio/ogg', duration_seconds = 600
                    WHERE id = \(late)
                    """)
                try await connection.report(Report("pending", 20), late)
                #expect(try await estimated() == 0)
                for round in 1...5 {
                    #expect(try await connection.refresh() == 200)
                    #expect(try await estimated() == 200 * round)
                }
                #expect(try await connection.refresh() == 1)
                #expect(try await connection.progress(of: late).estimate == 1_001 * 511)
                let versions: PostgresQuery = "SELECT sum(version)::bigint FROM app.session_progress"
                let before = try await connection.count(versions)
                for _ in 0..<10 { #expect(try await connection.claim() != nil) }
                #expect(try await connection.count(versions) == before)
            }
        }
    }

    @Test("The refresh counts a stage down, and takes away an estimate that does not hold")
    func running() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                let session = try await connection.addRecording(seconds: 600)
                try await connection.refresh()
                let claim = try #require(try await connection.claim())
                try await connection.report(Report("transcribing", 20), on: claim)
                try await connection.refresh()
                #expect(try await connection.progress(of: session).version == 3)
                #expect(try await connection.refresh() == 0)
                // The stage says nothing more: its percentage tells nothing.
                try await connection.pass(100, session)
                #expect(try await connection.refresh() == 1)
                #expect(try await isAbout(410, connection.progress(of: session).estimate))
                #expect(try await connection.progress(of: session).version == 4)
                try await connection.pass(3_000, session)
                #expect(try await connection.refresh() == 1)
                #expect(try await connection.progress(of: session).estimate == nil)
                #expect(try await connection.refresh() == 0)
                // A pipeline that told an estimate, and has been silent for more than twice that time.
                try await connection.report(Report("transcribing", 21, estimate: 100), on: claim)
                try await connection.pass(200, session)
                #expect(try await connection.refresh() == 0)
                try await connection.pass(70, session)
                #expect(try await connection.refresh() == 1)
                #expect(try await connection.progress(of: session).estimate == nil)
                // A worker that died.
                try await connection.report(Report("transcribing", 22, estimate: 100), on: claim)
                try await connection.expireLeases()
                #expect(try await connection.refresh() == 1)
                #expect(try await connection.progress(of: session).estimate == nil)
            }
        }
    }

    @Test("A refresh passes over a session that another transaction has locked, and waits for nobody")
    func locked() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                let held = try await connection.addRecording(seconds: 600)
                _ = try await connection.addRecording(seconds: 600)
                try await database.withConnection { other in
                    try await other.executeScript("BEGIN")
                    _ = try await other.query(
                        "SELECT FROM app.session_progress WHERE session_id = \(held) FOR NO KEY UPDATE")
                    #expect(try await connection.refresh() == 1)
                    // A server that refreshes keeps the others from it, and they do not wait.
                    _ = try await connection.query("UPDATE app.estimate_state SET refreshed_at = '-infinity'")
                    _ = try await other.query("SELECT FROM app.estimate_state FOR UPDATE")
                    #expect(
                        try await connection.query("SELECT app.refresh_estimates()")[0].decode(0, as: Int32.self) == 0)
                    try await other.executeScript("COMMIT")
                }
                #expect(try await connection.refresh() == 1)
            }
        }
    }
}

extension PostgresConnection {
    /// Reports under the lease of a claim.
    ///
    /// On its way to the notes, the session goes through the statuses between.
    fileprivate func report(_ report: Report, on claim: Claim) async throws {
        if report.status == "extracting_notes" {
            for step in ["transcribing", "transcribed"] {
                try await self.report(Report(step, 20, lease: claim.lease), claim.session)
            }
        }
        var report = report
        report.lease = claim.lease
        try await self.report(report, claim.session)
    }
}
