import Domain
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// The commands `failed` and `retry`.
@Suite(.deadline) struct FailedCommandTests {
    @Test(
        "`failed` lists failed sessions with their reasons, and `retry` takes up those that a reason and a time choose")
    func failedAndRetry() async throws {
        try await withDatabase { database in
            let program = Program.serving(database)
            let patient = try await database.addUser(.patient)
            var sessions: [String: SessionID] = [:]
            for (name, hasRecording) in [
                ("Old outage", true), ("Outage", true), ("No recording outage", false), ("Silence", true),
                ("Cancelled", true),
            ] {
                let session = try await database.addSession(of: patient)
                if hasRecording {
                    try await database.query(
                        "UPDATE app.therapy_sessions SET recording = \(name) WHERE id = \(session.rawValue)")
                }
                try await database.query("SELECT app.report_progress(\(session.rawValue), 'failed', 0, NULL, \(name))")
                sessions[name] = session
            }
            _ = try await database.addSession(of: patient)
            try await database.withConnection { connection in
                try await connection.executeScript("SET session_replication_role = replica")
                _ = try await connection.query(
                    "UPDATE app.session_progress SET updated_at = '2026-01-01' WHERE session_id = \(sessions["Old outage"]?.rawValue)"
                )
            }
            let lines = try await program.lines("failed").map { $0.split(separator: "\t").map(String.init) }
            #expect(lines.map { $0[3] } == ["Cancelled", "Silence", "No recording outage", "Outage", "Old outage"])
            #expect(lines.map { $0[0] } == lines.compactMap { sessions[$0[3]]?.description })
            #expect(lines.allSatisfy { $0.count == 4 && $0[2] == "1" })
            #expect(lines.last?[1] == "2026-01-01T00:00:00.000000Z")
            #expect(try await program.lines("failed", "--since", "2026-01-02").count == 4)

            let outage = try await program.lines("retry", "--since", "2026-01-02", "--reason", "OUTAGE")
            #expect(outage == [sessions["Outage"]?.description])
            #expect(try await database.history(of: try #require(sessions["Outage"])).last == "pending 2")
            // A cancelled session is taken up only when its reason is asked for.
            let rest = try await program.lines("retry", "--since", "2026-01-01")
            #expect(rest == [sessions["Old outage"], sessions["Silence"]].map { $0?.description })
            #expect(
                try await program.lines("retry", "--since", "2026-01-01", "--reason", "cancelled")
                    == [sessions["Cancelled"]?.description])
            #expect(try await program.lines("failed").count == 1)
        }
    }

    @Test("A bad or missing time is wrong usage")
    func usage() async throws {
        try await withDatabase { database in
            let program = Program.serving(database)
            let statuses = try await [
                program.run("retry").status, program.run("retry", "--since", "yesterday").status,
                program.run("failed", "--since", "yesterday").status,
            ]
            #expect(statuses == [64, 64, 64])
        }
    }
}

extension TestDatabase {
    /// The transitions of a session, each with its status and attempt.
    fileprivate func history(of session: SessionID) async throws -> [String] {
        try await query(
            "SELECT status || ' ' || attempt FROM app.session_events WHERE session_id = \(session.rawValue) ORDER BY version"
        ).map { try $0.decode(0, as: String.self) }
    }
}
