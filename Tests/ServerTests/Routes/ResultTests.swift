import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct ResultTests {
    @Test("Transcript and notes get 404 until the pipeline stores them")
    func results() async throws {
        try await withClinic { clinic in
            expectProblem(try await clinic.request(.GET, of: "/transcript", as: .patient), 404, "not-found")
            expectProblem(try await clinic.request(.GET, of: "/notes", as: .therapist), 404, "not-found")

            let transcript =
                #"{"text": "Grüß Gott", "segments": [{"start": 0.5, "end": 2, "text": "Grüß Gott", "speaker": "A"}]}"#
            let notes = #"{"summary": "Es geht besser.", "risks": []}"#
            try await clinic.database.query(
                "SELECT app.store_transcript(\(clinic.session.rawValue), 1, \(PostgresJSON(text: transcript)))")
            try await clinic.database.query(
                "SELECT app.store_notes(\(clinic.session.rawValue), 1, \(notes)::text::json)")

            for (path, caller, stored) in [
                ("/transcript", Clinic.Caller.patient, transcript), ("/transcript", .therapist, transcript),
                ("/notes", .therapist, notes), ("/notes", .admin, notes),
            ] {
                let response = try await clinic.request(.GET, of: path, as: caller)
                #expect(response.status == 200)
                #expect(response.headers["Content-Type"] == ["application/json; charset=utf-8"])
                #expect(response.headers["Cache-Control"] == ["no-store"])
                let expected = try JSONSerialization.jsonObject(with: Data(stored.utf8)) as? NSDictionary
                #expect(try response.json() as NSDictionary == expected)
            }
            // The patient never sees the notes.
            expectProblem(try await clinic.request(.GET, of: "/notes", as: .patient), 403, "forbidden")
        }
    }
}
