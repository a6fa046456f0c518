import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct DeletionTests {
    @Test(
        "A deletion removes the session, its recording, its transcript and its notes",
        arguments: [Clinic.Caller.therapist, .admin])
    func delete(_ caller: Clinic.Caller) async throws {
        try await withClinic { clinic in
            let upload = Upload(patient: clinic.id(.patient), file: .wav)
            let response = try await clinic.upload(upload, as: .therapist)
            #expect(response.status == 201)
            let id = try #require((try response.json()["id"] as? String).flatMap { SessionID($0) })
            try await clinic.database.query(
                "SELECT app.store_transcript(\(id.rawValue), 1, '{\"text\":\"\",\"segments\":[]}'), app.store_notes(\(id.rawValue), 1, '{}')"
            )
            #expect(try clinic.storedFiles().count == 1)

            let path = "/api/sessions/\(id)"
            #expect(try await clinic.request(.DELETE, path, as: caller).status == 204)
            #expect(try clinic.storedFiles() == [])
            for table in [
                "therapy_sessions", "session_progress", "session_events", "transcripts", "notes", "session_leases",
            ] {
                let column = table == "therapy_sessions" ? "id" : "session_id"
                let rows = try await clinic.database.query(
                    "SELECT FROM app.\(unescaped: table) WHERE \(unescaped: column) = \(id.rawValue)")
                #expect(rows.count == 0, "\(table)")
            }
            expectProblem(try await clinic.request(.GET, path, as: caller), 404, "not-found")
            expectProblem(try await clinic.request(.DELETE, path, as: caller), 404, "not-found")
            // The other session still exists.
            #expect(try await clinic.request(.GET, of: "", as: caller).status == 200)
        }
    }
}
