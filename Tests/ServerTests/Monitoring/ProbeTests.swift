import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Probes: sessions by which an administrator measures the server.
@Suite(.deadline) struct ProbeTests {
    private static func begin(_ clinic: Clinic) async throws -> SessionID {
        let answer = try await clinic.request(.POST, "/api/probes", as: .admin)
        #expect(answer.status == 201)
        let session = try answer.json()
        let id = try #require((session["id"] as? String).flatMap(SessionID.init))
        #expect(answer.headers["Location"] == ["/api/sessions/\(id)"])
        #expect(session["patient_name"] as? String == "Probe")
        return id
    }

    @Test(
        "Its administrator sees it, reports it, follows it and deletes it; it then leaves only records in the audit log"
    )
    func own() async throws {
        try await withClinic { clinic in
            let users = try await clinic.database.query("SELECT FROM app.users").count
            let probe = try await Self.begin(clinic)
            #expect(try await clinic.request(.GET, "/api/sessions/\(probe)", as: .admin).status == 200)
            let stream = "/api/sessions/\(probe)/status/stream"
            try await clinic.server.withStream(stream, token: clinic.token(.admin)) { reader in
                _ = try await reader.next("progress")
                let report = #"{"status":"transcribing","progress":30}"#
                #expect(try await clinic.post("/api/sessions/\(probe)/progress", report, as: .admin).status == 200)
                let event = try await reader.next("progress")
                #expect(event.data?.contains(#""progress":30"#) == true)
                #expect(try await clinic.request(.DELETE, "/api/sessions/\(probe)", as: .admin).status == 204)
                _ = try await reader.next("revoked")
            }
            #expect(try await clinic.database.query("SELECT FROM app.users").count == users)
            for table in ["session_list", "deleted_sessions", "deleted_session_ids", "session_progress"] {
                let rows = try await clinic.database.query(
                    "SELECT FROM app.\(unescaped: table) WHERE session_id = \(probe.rawValue)")
                #expect(rows.isEmpty, "\(table)")
            }
            let actions = try await clinic.database.query(
                "SELECT DISTINCT action FROM app.audit_log WHERE session_id = \(probe.rawValue)")
            #expect(
                try Set(actions.map { try $0.decode("action", as: String.self) })
                    .isSuperset(of: ["session.add", "session.delete"]))
        }
    }

    @Test("Nobody else sees it: no other administrator, list, search, count or stream of all sessions")
    func hidden() async throws {
        try await withClinic { clinic in
            let other = try await clinic.server.token(try await clinic.database.addUser(.admin))
            func answer(_ path: String) async throws -> TestResponse {
                try await clinic.server.request(.GET, path, token: other)
            }
            let before = try await answer("/api/sessions").json()["counts"] as? [String: Int]
            let observers = [clinic.token(.admin), other]
            try await withThrowingTaskGroup(of: [String].self) { group in
                let (opened, signal) = AsyncStream.makeStream(of: Void.self)
                for token in observers {
                    group.addTask {
                        try await clinic.server.withStream(Clinic.streamOfAll, token: token) { reader in
                            _ = try await reader.next("progress")
                            _ = try await reader.next("ready")
                            signal.yield()
                            // The clinic's session is reported after everything that happens to the probe.
                            var seen: [String] = []
                            while let event = try await reader.nextEvent() {
                                seen.append(event.data ?? "")
                                if seen.last?.contains(#""progress":77"#) == true { break }
                            }
                            return seen
                        }
                    }
                }
                var waiting = opened.makeAsyncIterator()
                for _ in observers { await waiting.next() }
                let probe = try await Self.begin(clinic)
                for progress in [30, 40] {
                    let report = #"{"status":"transcribing","progress":\#(progress)}"#
                    #expect(try await clinic.post("/api/sessions/\(probe)/progress", report, as: .admin).status == 200)
                }
                for path in ["", "/status", "/events", "/transcript", "/status/stream"] {
                    #expect(try await answer("/api/sessions/\(probe)\(path)").status == 404, "\(path)")
                }
                let deletion = try await clinic.server.request(.DELETE, "/api/sessions/\(probe)", token: other)
                #expect(deletion.status == 404)
                for list in [
                    "/api/sessions", "/api/sessions?q=probe", "/api/patients", "/api/users", "/api/users?q=probe",
                ] {
                    for token in observers {
                        let page = try await clinic.server.request(.GET, list, token: token)
                        #expect(page.status == 200)
                        #expect(!page.text.contains("\(probe)") && !page.text.lowercased().contains("probe"), "\(list)")
                    }
                }
                #expect(try await answer("/api/sessions").json()["counts"] as? [String: Int] == before)
                // A stream that opens now passes it over, too.
                try await clinic.server.withStream(Clinic.streamOfAll, token: clinic.token(.admin)) { reader in
                    let first = try await reader.next("progress")
                    #expect(first.data?.contains("\(clinic.session)") == true)
                    _ = try await reader.next("ready")
                }
                #expect(try await clinic.request(.DELETE, "/api/sessions/\(probe)", as: .admin).status == 204)
                try await clinic.database.report(clinic.session, .transcribing, 77)
                for try await seen in group {
                    #expect(!seen.contains { $0.contains("\(probe)") }, "\(seen)")
                }
            }
        }
    }

    @Test("No webhook tells of it, and no worker claims it")
    func unheard() async throws {
        try await withClinic { clinic in
            try await clinic.database.query(
                """
                INSERT INTO app.webhooks (url, secret) VALUES ('https://hooks.example/', decode(repeat('00', 32), 'hex'))
                """)
            let probe = try await Self.begin(clinic)
            let report = #"{"status":"transcribing","progress":30}"#
            #expect(try await clinic.post("/api/sessions/\(probe)/progress", report, as: .admin).status == 200)
            let deliveries = try await clinic.database.query(
                "SELECT FROM app.webhook_deliveries WHERE session_id = \(probe.rawValue)")
            #expect(deliveries.isEmpty)
            #expect(try await clinic.database.query("SELECT FROM app.session_leases").isEmpty)
            // Not even a recording that somebody gives it in the database makes it claimable.
            await #expect(throws: PostgresError.self) {
                try await clinic.database.query(
                    "UPDATE app.therapy_sessions SET recording = 'r' WHERE id = \(probe.rawValue)")
            }
        }
    }

    @Test("Only administrators begin one, and no more than a hundred at a time")
    func limits() async throws {
        try await withClinic { clinic in
            for caller in [Clinic.Caller.therapist, .patient, .pipeline] {
                #expect(try await clinic.request(.POST, "/api/probes", as: caller).status == 403)
            }
            #expect(try await clinic.request(.POST, "/api/probes", as: nil).status == 401)
            for _ in 0..<100 { _ = try await Self.begin(clinic) }
            let refusal = try await clinic.request(.POST, "/api/probes", as: .admin)
            #expect(refusal.status == 429)
            #expect(refusal.headers["Retry-After"] == ["60"])
        }
    }

    @Test("One that was left over goes after five minutes, by the servers themselves, with its patient")
    func leftOver() async throws {
        try await withDatabase { database in
            let admin = try await database.addUser(.admin)
            for age in [301, 0] {
                try await database.query(
                    """
                    WITH patient AS (
                        INSERT INTO app.users (email, full_name, role, is_active, is_probe)
                        VALUES (\("probe-\(age)@therapybridge.invalid"), 'Probe', 'patient', false, true) RETURNING id
                    )
                    INSERT INTO app.therapy_sessions (patient_id, probe_of, created_at)
                    SELECT p.id, \(admin), clock_timestamp() - make_interval(secs => \(Double(age))) FROM patient p
                    """)
            }
            try await withServer(over: database) { _ in
                try await eventually("the server removes the old probe") {
                    try await database.query("SELECT FROM app.therapy_sessions").count == 1
                }
                let left = try await database.query("SELECT email FROM app.users WHERE is_probe")
                #expect(try left.map { try $0.decode("email", as: String.self) } == ["probe-0@therapybridge.invalid"])
            }
        }
    }
}
