import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct UploadDeletionTests {
    /// Deletes a session during its upload.
    ///
    /// `body` goes on with the connection of that upload.
    private func deleteMidway(
        _ clinic: Clinic, _ id: SessionID, then body: (inout WireConnection, Upload) async throws -> Void
    ) async throws {
        let first = Upload(patient: clinic.id(.patient), file: .wav(size: 200_000), session: id)
        try await clinic.beginUpload(first, of: id, upTo: 100_000) { wire in
            #expect(try await clinic.request(.DELETE, "/api/sessions/\(id)", as: .therapist).status == 204)
            try await body(&wire, first)
        }
    }

    @Test("After a deletion, neither the upload of the session nor another one brings its id back")
    func again() async throws {
        try await withClinic { clinic in
            for isBroken in [false, true] {
                let id = SessionID.random()
                try await deleteMidway(clinic, id) { wire, first in
                    let second = Upload(patient: clinic.id(.patient), file: .wav(size: 300_000), session: id)
                    try await clinic.server.withWire { other in
                        try await other.send(second.requestHead(token: clinic.token(.patient)))
                        try await other.send(second.head + second.recording.prefix(1000))
                        expectProblem(try await other.readResponse(), 409, "conflict")
                    }
                    if isBroken {
                        // The form is malformed from here on.
                        try await wire.send(Data("\r\n--\(Upload.boundary)x\r\n".utf8) + Data(count: 200_000))
                        #expect(try await wire.readResponse().status == 400)
                    } else {
                        try await wire.send(first.recording.dropFirst(100_000) + first.tail)
                        expectProblem(try await wire.readResponse(), 409, "conflict")
                    }
                }
                #expect(try await clinic.request(.GET, "/api/sessions/\(id)", as: .patient).status == 404)
            }
            #expect(
                try await clinic.database.query("SELECT FROM app.discarded_recordings WHERE removed_at IS NULL").count
                    <= 1)
        }
    }

    @Test("An upload whose session was deleted gets 409 and leaves no file")
    func gone() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            try await deleteMidway(clinic, id) { wire, first in
                try await wire.send(first.recording.dropFirst(100_000) + first.tail)
                expectProblem(try await wire.readResponse(), 409, "conflict", detail: "deleted")
            }
            #expect(try clinic.storedFiles() == [])
            #expect(
                try await clinic.database.query("SELECT FROM app.discarded_recordings WHERE removed_at IS NULL").isEmpty
            )
        }
    }

    @Test("The janitor removes the files of a killed server's uploads, and no file of a session")
    func killed() async throws {
        try await withClinic { clinic in
            #expect(
                try await clinic.upload(Upload(patient: clinic.id(.patient), file: .wav), as: .patient).status == 201)
            let kept = try clinic.storedFiles()
            // The files that a killed server leaves: during the upload, and before the recording is in the database.
            for (name, suffix) in [("a", ".partial"), ("b", "")] {
                let key = "\(name)\(UUID().uuidString.lowercased()).wav"
                try Data("RIFF".utf8).write(to: clinic.server.uploads.appending(path: key + suffix))
                try await clinic.database.query(
                    """
                    INSERT INTO app.therapy_sessions (patient_id, uploaded_by, upload_id, upload_key)
                    SELECT id, id, gen_random_uuid(), \(key) FROM app.users WHERE id = \(clinic.id(.patient).rawValue)
                    """)
            }
            try await clinic.database.query(
                "UPDATE app.discarded_recordings SET discarded_at = discarded_at - interval '1 hour'")
            #expect(try clinic.storedFiles().count == 3)
            let uploads = clinic.server.uploads.path(percentEncoded: false)
            try await withServer(over: clinic.database, ["UPLOAD_DIR": uploads]) { _ in
                try await eventually("the files of the deleted session are removed") {
                    try clinic.storedFiles() == kept
                }
                try await eventually("the removal is in the database") {
                    try await clinic.database.query("SELECT FROM app.discarded_recordings WHERE removed_at IS NULL")
                        .isEmpty
                }
            }
        }
    }
}
