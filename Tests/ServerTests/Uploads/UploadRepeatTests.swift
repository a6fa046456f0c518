import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct UploadRepeatTests {
    @Test("A repeated upload gets the first upload's session")
    func same() async throws {
        try await withClinic { clinic in
            let upload = Upload(patient: clinic.id(.patient), file: .wav, session: .random())
            let first = try await clinic.upload(upload, as: .patient)
            #expect(first.status == 201)
            for _ in 0..<2 {
                let again = try await clinic.upload(upload, as: .patient)
                #expect(again.status == 200)
                #expect(again.headers["Location"] == first.headers["Location"])
                #expect(try again.json() as NSDictionary == first.json() as NSDictionary)
            }
            #expect(try clinic.storedFiles().count == 1)
            #expect(try await clinic.uploadedSessions() == 1)
        }
    }

    @Test("An upload with a used id and another recording, patient or user gets 409")
    func other() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav, session: id)
            #expect(try await clinic.upload(upload, as: .patient).status == 201)
            let other = Upload(patient: clinic.id(.patient), file: .wav(size: 5000), session: id)
            expectProblem(try await clinic.upload(other, as: .patient), 409, "conflict", detail: "session_id: ")
            expectProblem(try await clinic.upload(upload, as: .therapist), 409, "conflict", detail: "session_id: ")
            let elsewhere = Upload(patient: clinic.id(.otherPatient), file: .wav, session: id)
            expectProblem(
                try await clinic.upload(elsewhere, as: .otherPatient), 409, "conflict", detail: "session_id: ")
            // This session was not made by an upload.
            let made = Upload(patient: clinic.id(.patient), file: .wav, session: clinic.session)
            expectProblem(try await clinic.upload(made, as: .patient), 409, "conflict", detail: "session_id: ")
            #expect(try clinic.storedFiles().count == 1)
            #expect(try await clinic.progress(of: id)["status"] as? String == "pending")
        }
    }

    @Test(
        "The id of another account's unfinished upload gets 409 by the form and as a resumable upload, and that upload goes on"
    )
    func unfinishedOfAnother() async throws {
        try await withClinic { clinic async throws in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 200_000), session: id)
            let bytes = upload.recording
            try await clinic.beginUpload(upload, of: id) { wire async throws in
                // Both may upload for this patient.
                for caller in [Clinic.Caller.therapist, .admin] {
                    let form = try await clinic.upload(upload, as: caller)
                    expectProblem(form, 409, "conflict", detail: "session_id: belongs to another session.")
                    var client = clinic.resumable(200_000, as: caller)
                    client.session = id
                    let creation = try await client.create()
                    expectProblem(creation, 409, "conflict", detail: "session_id: belongs to another session.")
                    for answer in [form, creation] { #expect(answer.headers["Location"].isEmpty) }
                }
                try await wire.send(bytes.dropFirst(1000) + upload.tail)
                #expect(try await wire.readResponse().status == 201)
            }
            let recording = try await clinic.request(.GET, "/api/sessions/\(id)/recording", as: .patient)
            #expect(recording.body == bytes)
        }
    }

    @Test("Parallel uploads with one id make one session with one file")
    func atOnce() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 100_000), session: id)
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<3 { group.addTask { try await clinic.upload(upload, as: .patient).status } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses.sorted() == [200, 200, 201])
            #expect(try clinic.storedFiles().count == 1)
            #expect(try await clinic.uploadedSessions() == 1)
            #expect(try await clinic.progress(of: id)["status"] as? String == "pending")
        }
    }

    @Test("Parallel uploads after a failure make one attempt with one file")
    func atOnceAfterFailure() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            let bad = Upload(
                patient: clinic.id(.patient), file: UploadFile("a.wav", "audio/wav", "nonsense"), session: id)
            expectProblem(try await clinic.upload(bad, as: .patient), 415, "unsupported-media")
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 100_000), session: id)
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<4 { group.addTask { try await clinic.upload(upload, as: .patient).status } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            // An upload that meets another one at work on the same id gets 409.
            #expect(statuses.filter { $0 == 201 }.count == 1)
            #expect(statuses.allSatisfy { [200, 201, 409].contains($0) })
            #expect(try clinic.storedFiles().count == 1)
            let progress = try await clinic.progress(of: id)
            #expect(progress["status"] as? String == "pending")
            #expect(progress["attempt"] as? Int == 2)
        }
    }
}
