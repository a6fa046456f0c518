import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Synchronization
import TestSupport
import Testing

@Suite("An upload over a slow or broken line", .deadline)
struct UploadConnectionTests {
    @Test("A client that chose the session's id follows the upload's percentages")
    func percentages() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 400_000), session: id)
            let bytes = upload.file?.bytes ?? Data()
            let seen = Mutex<Set<Int>>([])

            async let watched = Self.watch(id, of: clinic) { event in
                if event.status == "uploading", let progress = event.progress {
                    _ = seen.withLock { $0.insert(progress) }
                }
            }
            let response = try await clinic.server.withWire { wire in
                try await wire.send(upload.requestHead(token: clinic.token(.patient)))
                try await wire.send(upload.head)
                var rest = bytes[...]
                // The line is slow until the stream has sent enough percentages. The sleep paces the client, and
                // no event shows when the server will report next.
                while !rest.isEmpty, seen.withLock({ $0.count }) < 4 {
                    try await wire.send(Data(rest.prefix(500)))
                    rest = rest.dropFirst(500)
                    try await Task.sleep(for: .milliseconds(15))
                }
                try await wire.send(Data(rest) + upload.tail)
                return try await wire.readResponse()
            }
            #expect(response.status == 201)
            #expect(try response.json()["id"] as? String == id.description)
            #expect(try clinic.storedFiles().count == 1)

            let events = try await watched
            let percentages = events.filter { $0.status == "uploading" }.compactMap(\.progress)
            #expect(percentages.count >= 4)
            #expect(percentages == percentages.sorted())
            #expect(percentages.allSatisfy { (0..<20).contains($0) })
            #expect(events.last?.status == "pending")
            #expect(events.last?.progress == 20)
        }
    }

    /// Follows the stream of a session that an upload will make, until the recording is complete.
    private static func watch(
        _ id: SessionID, of clinic: Clinic, _ body: (StreamedEvent) -> Void
    ) async throws -> [StreamedEvent] {
        try await eventually("the session of the upload is there") {
            try await clinic.request(.GET, "/api/sessions/\(id)/status", as: .patient).status == 200
        }
        return try await clinic.server.withStream(
            "/api/sessions/\(id)/status/stream", token: clinic.token(.patient)
        ) { reader in
            var events: [StreamedEvent] = []
            while let event = try await reader.next() {
                guard event.event != nil else { continue }
                events.append(event)
                body(event)
                if event.status == "pending", event.progress == 20 { break }
            }
            return events
        }
    }

    /// Starts an upload, and breaks the connection when the session exists.
    private func breakUpload(_ upload: Upload, of clinic: Clinic, after count: Int, session: SessionID) async throws {
        try await clinic.server.withWire { wire in
            try await wire.send(upload.requestHead(token: clinic.token(.patient)))
            try await wire.send(upload.head + (upload.file?.bytes ?? Data()).prefix(count))
            try await eventually("the upload is under way") {
                let rows = try await clinic.database.query(
                    "SELECT FROM app.session_progress WHERE session_id = \(session.rawValue) AND status = 'uploading'")
                return rows.count == 1
            }
        }
    }

    @Test("A broken upload leaves a failed session with its reason, and no file", arguments: [0, 5, 100, 100_000])
    func broken(_ count: Int) async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 200_000), session: id)
            try await breakUpload(upload, of: clinic, after: count, session: id)
            let last = try #require(try await clinic.end(of: id))
            #expect(last.event == "error")
            #expect(last.status == "failed")
            let reason = try last.json()["error"] as? String
            #expect(reason == "The upload broke off before the recording was complete.")
            #expect(try clinic.storedFiles() == [])
        }
    }

    @Test("After a broken upload, the same id accepts the recording or another one")
    func again() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 200_000), session: id)
            try await breakUpload(upload, of: clinic, after: 1000, session: id)
            let other = UploadFile("better.ogg", "audio/ogg", "OggS")
            let response = try await clinic.upload(
                Upload(patient: clinic.id(.patient), file: other, session: id), as: .patient)
            #expect(response.status == 201)
            let json = try response.json()
            #expect(json["id"] as? String == id.description)
            #expect(json["filename"] as? String == "better.ogg")
            #expect(json["bytes"] as? Int == other.bytes.count)
            let progress = try #require(json["progress"] as? [String: any Sendable])
            #expect(progress["status"] as? String == "pending")
            #expect(progress["attempt"] as? Int == 2)
            #expect(try clinic.storedFiles().count == 1)
            let recording = try await clinic.request(.GET, "/api/sessions/\(id)/recording", as: .patient)
            #expect(recording.headers["Content-Type"] == ["audio/ogg"])
            #expect(recording.body == other.bytes)
        }
    }
}

@Suite("An upload whose session is deleted", .deadline)
struct UploadDeletionTests {
    /// Deletes a session during its upload.
    ///
    /// `body` goes on with the connection of that upload.
    private func deleteMidway(
        _ clinic: Clinic, _ id: SessionID, then body: (inout WireConnection, Upload) async throws -> Void
    ) async throws {
        let first = Upload(patient: clinic.id(.patient), file: .wav(size: 200_000), session: id)
        try await clinic.server.withWire { wire in
            try await wire.send(first.requestHead(token: clinic.token(.patient)))
            try await wire.send(first.head + (first.file?.bytes ?? Data()).prefix(100_000))
            try await eventually("the session of the upload is there") {
                try await clinic.request(.GET, "/api/sessions/\(id)/status", as: .patient).status == 200
            }
            #expect(try await clinic.request(.DELETE, "/api/sessions/\(id)", as: .therapist).status == 204)
            try await body(&wire, first)
        }
    }

    @Test("An upload whose session was deleted does not change a new session with the same id")
    func again() async throws {
        try await withClinic { clinic in
            for isBroken in [false, true] {
                let id = SessionID.random()
                try await deleteMidway(clinic, id) { wire, first in
                    let second = Upload(patient: clinic.id(.patient), file: .wav(size: 300_000), session: id)
                    try await clinic.server.withWire { other in
                        try await other.send(second.requestHead(token: clinic.token(.patient)))
                        try await other.send(second.head + (second.file?.bytes ?? Data()).prefix(1000))
                        try await eventually("the session of the upload is there") {
                            try await clinic.request(.GET, "/api/sessions/\(id)/status", as: .patient).status == 200
                        }
                        if isBroken {
                            // The form is malformed from here on.
                            try await wire.send(Data("\r\n--\(Upload.boundary)x\r\n".utf8) + Data(count: 200_000))
                            #expect(try await wire.readResponse().status == 400)
                        } else {
                            try await wire.send((first.file?.bytes ?? Data()).dropFirst(100_000) + first.tail)
                            expectProblem(try await wire.readResponse(), 409, "conflict")
                        }
                        let status = try await clinic.progress(of: id)
                        #expect(status["status"] as? String == "uploading")
                        try await other.send((second.file?.bytes ?? Data()).dropFirst(1000) + second.tail)
                        #expect(try await other.readResponse().status == 201)
                    }
                }
                let recording = try await clinic.request(.GET, "/api/sessions/\(id)/recording", as: .patient)
                #expect(recording.body.count == 300_000)
            }
            #expect(try clinic.storedFiles().count == 2)
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
                try await wire.send((first.file?.bytes ?? Data()).dropFirst(100_000) + first.tail)
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

@Suite("An upload that comes twice", .deadline)
struct UploadRepeatTests {
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
