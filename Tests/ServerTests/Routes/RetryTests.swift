import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct RetryTests {
    @Test("A retry sends a failed session back to pending, once")
    func retry() async throws {
        try await withClinic { clinic in
            expectProblem(
                try await clinic.request(.POST, of: "/retry", as: .therapist), 409, "conflict", detail: "failed")
            try await clinic.database.report(clinic.session, .transcribing, 40)
            try await clinic.database.report(clinic.session, .failed, 40, error: "broken")
            // The session has no recording.
            expectProblem(
                try await clinic.request(.POST, of: "/retry", as: .therapist), 409, "conflict", detail: "recording")

            try await clinic.database.query(
                "UPDATE app.therapy_sessions SET recording = 'x.mp3' WHERE id = \(clinic.session.rawValue)")
            let response = try await clinic.request(.POST, of: "/retry", as: .therapist)
            #expect(response.status == 202)
            let json = try response.json()
            #expect(json["status"] as? String == "pending")
            #expect(json["progress"] as? Int == 20)
            #expect(json["attempt"] as? Int == 2)
            #expect(json["error"] is NSNull)
            #expect(
                try await clinic.request(.GET, of: "/status", as: .patient).json() as NSDictionary == json
                    as NSDictionary)

            expectProblem(try await clinic.request(.POST, of: "/retry", as: .admin), 409, "conflict")
        }
    }
}
