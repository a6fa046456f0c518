import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Reports over HTTP about a session that a worker has claimed.
@Suite(.deadline) struct ReportLeaseTests {
    /// Lets a worker claim the clinic's session.
    ///
    /// - Returns: The lease.
    private func claim(_ clinic: Clinic) async throws -> String {
        try await clinic.database.query(
            "UPDATE app.therapy_sessions SET recording = 'key' WHERE id = \(clinic.session.rawValue)")
        let claim = try await clinic.database.query(
            "SELECT lease FROM app.claim_session('w', '1 hour')", as: "therapybridge_pipeline")
        try await clinic.database.report(clinic.session, .transcribing, 20)
        return try claim[0].decode("lease", as: String.self)
    }

    private func report(_ clinic: Clinic, _ json: String, as caller: Clinic.Caller) async throws -> TestResponse {
        try await clinic.post("/api/sessions/\(clinic.session)/progress", json, as: caller)
    }

    @Test("Without the lease, a pipeline gets 409 when it ends a stage or the session, and the session stays")
    func needed() async throws {
        try await withClinic { clinic in
            let lease = try await claim(clinic)
            for members in ["", #", "lease": null"#, #", "lease": "wrong""#] {
                for status in ["transcribed", "failed"] {
                    let response = try await report(
                        clinic, #"{"status": "\#(status)", "progress": 60\#(members)}"#, as: .pipeline)
                    #expect(response.status == 409)
                    #expect(try response.json()["type"] as? String == "/problems/conflict")
                    let detail = try #require(try response.json()["detail"] as? String)
                    #expect(detail.contains("lease"))
                    #expect(!response.text.contains(lease))
                }
            }
            #expect(
                try await clinic.request(.GET, of: "/status", as: .patient).json()["status"] as? String
                    == "transcribing")
            let response = try await report(
                clinic, #"{"status": "transcribed", "progress": 60, "lease": "\#(lease)", "attempt": 1}"#, as: .pipeline
            )
            #expect(response.status == 200)
            #expect(!response.text.contains(lease))
        }
    }

    @Test("An administrator ends the session without the lease, but not with a wrong one")
    func administrator() async throws {
        try await withClinic { clinic in
            _ = try await claim(clinic)
            let wrong = try await report(
                clinic, #"{"status": "failed", "progress": 20, "lease": "wrong"}"#, as: .admin)
            #expect(wrong.status == 409)
            let stale = try await report(
                clinic, #"{"status": "transcribing", "progress": 1, "lease": "wrong"}"#, as: .admin)
            #expect(stale.status == 200)
            #expect(try await report(clinic, #"{"status": "failed", "progress": 20}"#, as: .admin).status == 200)
        }
    }

    @Test("In a list, each report has its own lease")
    func list() async throws {
        try await withClinic { clinic in
            let lease = try await claim(clinic)
            let other = try await clinic.database.addSession(of: clinic.id(.patient))
            let response = try await clinic.post(
                "/api/progress",
                """
                {"reports": [
                    {"session_id": "\(clinic.session)", "status": "transcribed", "progress": 60},
                    {"session_id": "\(clinic.session)", "status": "transcribing", "progress": 40, "lease": "wrong"},
                    {"session_id": "\(clinic.session)", "status": "transcribed", "progress": 60, "lease": "\(lease)"},
                    {"session_id": "\(other)", "status": "failed", "progress": 0},
                    {"session_id": "\(other)", "status": "failed", "progress": 0, "lease": 7}
                ]}
                """, as: .pipeline)
            #expect(response.status == 200)
            let results = try #require(try response.json()["results"] as? [[String: Any]])
            let statuses = results.map { ($0["error"] as? [String: Any])?["status"] as? Int }
            #expect(statuses == [409, 409, nil, nil, 422])
        }
    }

    @Test("A lease with a NUL character gets 422")
    func nul() async throws {
        try await withClinic { clinic in
            let response = try await report(
                clinic, #"{"status": "transcribing", "progress": 20, "lease": "a\u0000"}"#, as: .pipeline)
            #expect(response.status == 422)
            #expect(try (response.json()["detail"] as? String)?.hasPrefix("lease: ") == true)
        }
    }
}
