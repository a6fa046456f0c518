import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The removal of what is older than the settings `RETAIN_…`, by a running server.
@Suite(.deadline) struct RetentionSweeperTests {
    /// Adds a transition that is older than every time of these tests, under a version of its own, and returns the session.
    private static func addOldTransition(_ database: TestDatabase, version: Int) async throws -> SessionID {
        let session = try await database.addSession(of: try await database.addUser(.patient))
        try await database.report(session, .transcribing, 20)
        try await database.query(
            """
            INSERT INTO app.session_events (session_id, version, attempt, status, progress, at)
            VALUES (\(session), \(Int64(version)), 1, 'pending', 0, now() - interval '2 hours')
            """)
        return session
    }

    private static func versions(of session: SessionID, _ database: TestDatabase) async throws -> [Int64] {
        try await database.query(
            "SELECT version FROM app.session_events WHERE session_id = \(session) ORDER BY version"
        ).map { try $0.decode("version", as: Int64.self) }
    }

    @Test("The server removes what is too old, at its start and again and again, and nothing else")
    func sweeps() async throws {
        try await withDatabase { database in
            let before = try await Self.addOldTransition(database, version: 0)
            try await database.query(
                "INSERT INTO app.audit_log (at, action) VALUES (now() - interval '2 hours', 'session.read')")
            // The server looks four times in the shortest of the times: here, every second.
            try await withServer(over: database, ["RETAIN_EVENTS": "4", "RETAIN_AUDIT": "0"]) { _ in
                try await eventually("the transition from before the start goes") {
                    try await Self.versions(of: before, database).first != 0
                }
                let during = try await Self.addOldTransition(database, version: 0)
                try await eventually("the transition from after the start goes") {
                    try await Self.versions(of: during, database).first != 0
                }
                // The latest transition of a session stays, however old it becomes.
                #expect(try await Self.versions(of: before, database).last == 2)
            }
            let audit = try await database.query("SELECT FROM app.audit_log WHERE at < now() - interval '1 hour'")
            #expect(audit.count == 1)
        }
    }

    @Test("The recording of a session that has been finished for long goes with its file, and the session stays")
    func recordings() async throws {
        try await withClinic(["RETAIN_RECORDINGS": "3"]) { clinic in
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 4096))
            let answer = try await clinic.upload(upload, as: .therapist)
            #expect(answer.status == 201)
            let session = try #require((try answer.json()["id"] as? String).flatMap(SessionID.init))
            try await clinic.database.report(session, .failed, 20)
            try await eventually("the recording is taken from the session") {
                try await clinic.database.query(
                    "SELECT FROM app.therapy_sessions WHERE id = \(session) AND recording IS NULL AND bytes = 4096"
                ).count == 1
            }
            #expect(try await clinic.request(.GET, "/api/sessions/\(session)", as: .therapist).status == 200)
            #expect(try await clinic.request(.GET, "/api/sessions/\(session)/recording", as: .therapist).status == 404)
            #expect(try await clinic.request(.POST, "/api/sessions/\(session)/retry", as: .therapist).status == 409)
            let due = try await clinic.database.query(
                "SELECT FROM app.discarded_recordings WHERE discarded_at <= clock_timestamp() AND removed_at IS NULL")
            #expect(due.count == 1)
        }
    }
}
