import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite("The language of an upload", .deadline) struct UploadLanguageTests {
    private func language(of session: SessionID, _ clinic: Clinic) async throws -> String? {
        try await clinic.request(.GET, "/api/sessions/\(session)", as: .admin).json()["language"] as? String
    }

    @Test(
        "A form with a language makes a session with it, in its canonical case",
        arguments: [("de-at", "de-AT"), ("EN", "en"), ("x-sign", "x-sign"), ("", nil)] as [(String, String?)])
    func form(_ text: String, _ tag: String?) async throws {
        try await withClinic { clinic in
            var upload = Upload(patient: clinic.id(.patient), file: .wav)
            upload.fields.append(("language", text))
            let response = try await clinic.upload(upload, as: .therapist)
            #expect(response.status == 201)
            let json = try response.json()
            #expect(json["language"] as? String == tag)
            #expect(json["language"] is NSNull == (tag == nil))
        }
    }

    @Test(
        "A language that is no tag gets 422, and makes no session",
        arguments: ["de_AT", "Deutsch (Deutschland)", "d", "de--AT", String(repeating: "x", count: 2000)])
    func badForm(_ text: String) async throws {
        try await withClinic { clinic in
            var upload = Upload(patient: clinic.id(.patient), file: .wav)
            upload.fields.append(("language", text))
            expectProblem(
                try await clinic.upload(upload, as: .therapist), 422, "invalid-value", detail: "language: ")
            var late = Upload(patient: clinic.id(.patient), file: .wav)
            late.lateFields = [("language", "de")]
            expectProblem(try await clinic.upload(late, as: .therapist), 422, detail: "language: has to come before")
            var twice = Upload(patient: clinic.id(.patient), file: .wav)
            twice.fields += [("language", "de"), ("language", "de")]
            expectProblem(try await clinic.upload(twice, as: .therapist), 422, detail: "language: is there twice")
            var client = clinic.resumable(1000)
            client.more = ["language": text]
            expectProblem(try await client.create(), 422, "invalid-value", detail: "language: ")
            let made = try await clinic.database.query("SELECT FROM app.therapy_sessions WHERE recording IS NOT NULL")
            #expect(made.isEmpty)
            #expect(try await clinic.database.query("SELECT FROM app.resumable_uploads").isEmpty)
        }
    }

    @Test("A resumable upload with the key language makes a session with it")
    func resumable() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(1000)
            client.more = ["language": "SR-latn-rs"]
            try await client.begin()
            #expect(try await language(of: client.session, clinic) == "sr-Latn-RS")
            #expect(try await client.patch(0..<1000).status == 204)
            #expect(try await language(of: client.session, clinic) == "sr-Latn-RS")
        }
    }

    @Test("A repeat of a stored upload leaves date and language; one after a failure takes what the client says anew")
    func repeats() async throws {
        try await withClinic { clinic in
            func upload(_ session: SessionID, _ fields: [(String, String)], _ file: UploadFile = .wav) async throws
                -> TestResponse
            {
                var upload = Upload(patient: clinic.id(.patient), file: file, session: session)
                upload.fields += fields.map { (name: $0.0, value: $0.1) }
                return try await clinic.upload(upload, as: .patient)
            }
            let stored = SessionID.random()
            #expect(try await upload(stored, [("language", "de"), ("session_date", "2026-11-20")]).status == 201)
            let again = try await upload(stored, [("language", "fr"), ("session_date", "2026-11-21")])
            #expect(again.status == 200)
            #expect(try again.json()["language"] as? String == "de")
            #expect(try again.json()["session_date"] as? String == "2026-11-20T00:00:00.000000Z")

            let failed = SessionID.random()
            let bad = UploadFile("a.wav", "audio/wav", "nonsense")
            #expect(try await upload(failed, [("language", "de"), ("session_date", "2026-11-20")], bad).status == 415)
            #expect(try await upload(failed, [], bad).status == 415)
            #expect(try await language(of: failed, clinic) == "de")
            let replaced = try await upload(failed, [("language", "fr"), ("session_date", "2026-11-21")])
            #expect(replaced.status == 201)
            #expect(try replaced.json()["language"] as? String == "fr")
            #expect(try replaced.json()["session_date"] as? String == "2026-11-21T00:00:00.000000Z")
        }
    }

    @Test("A repeated creation with another date or language gets the unfinished upload, which keeps its own")
    func repeatedCreation() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(1000)
            client.more = ["language": "de", "session_date": "2026-11-20"]
            try await client.begin()
            var other = client
            other.more = ["language": "fr", "session_date": "2026-11-21"]
            let again = try await other.create()
            #expect(again.status == 201)
            #expect(again.headers["Location"] == [client.path])
            let session = try await clinic.request(.GET, "/api/sessions/\(client.session)", as: .therapist).json()
            #expect(session["language"] as? String == "de")
            #expect(session["session_date"] as? String == "2026-11-20T00:00:00.000000Z")
            // After an end, a new upload says anew.
            #expect(try await client.send(.DELETE).status == 204)
            try await other.begin()
            #expect(try await language(of: client.session, clinic) == "fr")
        }
    }
}
