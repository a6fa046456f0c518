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
                var expected = try JSONSerialization.jsonObject(with: Data(stored.utf8)) as? [String: Any]
                if path == "/transcript" {
                    expected?.merge(
                        [
                            "attempt": 1, "is_final": true, "is_complete": true, "duration_seconds": NSNull(),
                            "announced_seconds": NSNull(),
                        ]) { $1 }
                }
                #expect(try response.json() as NSDictionary == expected as NSDictionary?)
            }
            // The patient never sees the notes.
            expectProblem(try await clinic.request(.GET, of: "/notes", as: .patient), 403, "forbidden")
        }
    }

    @Test("A transcript says whether the recording was complete, whatever its pipeline wrote into that member")
    func completeness() async throws {
        try await withClinic { clinic in
            func store(_ members: String) async throws {
                let transcript = PostgresJSON(text: #"{"text": "a", "segments": []\#(members)}"#)
                try await clinic.database.query(
                    "SELECT app.store_transcript(\(clinic.session.rawValue), 1, \(transcript))")
            }
            for (members, isComplete, decoded, announced) in [
                (#", "duration_seconds": 3.1, "announced_seconds": 6.14, "is_complete": true"#, false, 3.1, 6.14),
                // What a later transcript does not say stays known.
                (#", "duration_seconds": 6.1"#, true, 6.1, 6.14),
                (#", "announced_seconds": null"#, true, 6.1, 6.14),
            ] {
                try await store(members)
                let transcript = try await clinic.request(.GET, of: "/transcript", as: .patient).json()
                #expect(transcript["is_complete"] as? Bool == isComplete)
                #expect(transcript["duration_seconds"] as? Double == decoded)
                #expect(transcript["announced_seconds"] as? Double == announced)
                #expect(transcript["text"] as? String == "a")
                let session = try await clinic.request(.GET, of: "", as: .patient).json()
                #expect(session["duration_seconds"] as? Double == decoded)
            }
        }
    }
}
