import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite("Silent uploads", .deadline) struct UploadSilenceTests {
    @Test("A repeat takes over from an upload whose connection is silent")
    func silent() async throws {
        try await withClinic { clinic async throws in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 200_000), session: id)
            try await clinic.beginUpload(upload, of: id) { wire async throws in
                #expect(try await clinic.upload(upload, as: .patient).status == 201)
                // The first connection comes back too late.
                try await wire.send(upload.recording.dropFirst(1000) + upload.tail)
                expectProblem(try await wire.readResponse(), 409, "conflict")
            }
            let progress = try await clinic.progress(of: id)
            #expect(progress["status"] as? String == "pending")
            #expect(progress["attempt"] as? Int == 2)
            #expect(try clinic.storedFiles().count == 1)
        }
    }

    @Test("A repeat takes over from an upload whose server has died")
    func dead() async throws {
        try await withClinic(["UPLOAD_MAX_CONCURRENT_PER_USER": "1"]) { clinic async throws in
            let id = SessionID.random()
            // What a killed server leaves behind, some seconds later.
            try await clinic.database.query(
                """
                INSERT INTO app.therapy_sessions (id, patient_id, uploaded_by, upload_id, upload_key)
                VALUES (\(id.rawValue), \(clinic.id(.patient).rawValue), \(clinic.id(.patient).rawValue), \(id.rawValue), 'dead')
                """)
            try await clinic.database.report(id, .uploading, 5)
            try await clinic.database.query(
                """
                INSERT INTO app.upload_charges (id, user_id, bytes, reserved, leased_until, beat_at, heard_at)
                VALUES (\(id.rawValue), \(clinic.id(.patient).rawValue), 0, 1000, now() + interval '100 seconds',
                        now() - interval '20 seconds', now() - interval '20 seconds')
                """)
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 200_000), session: id)
            #expect(try await clinic.upload(upload, as: .patient).status == 201)
            #expect(try await clinic.progress(of: id)["status"] as? String == "pending")
        }
    }

    @Test("A repeat of an upload that is heard gets 409 with Retry-After")
    func heard() async throws {
        try await withClinic { clinic async throws in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 200_000), session: id)
            try await clinic.beginUpload(upload, of: id) { wire async throws in
                // The repeat waits for ten seconds.
                let rest = upload.recording.dropFirst(1000)
                let (answer, count) = try await wire.trickle(rest) { try await clinic.upload(upload, as: .patient) }
                expectProblem(answer, 409, "conflict", detail: "in progress")
                #expect(answer.headers["Retry-After"] == ["5"])
                try await wire.send(rest.dropFirst(count) + upload.tail)
                #expect(try await wire.readResponse().status == 201)
            }
        }
    }

    @Test(
        "The body of an upload may stand still for UPLOAD_BODY_TIMEOUT, and then gets 408 that names the resumable way")
    func timeout() async throws {
        for isCompleted in [true, false] {
            // The upload that goes on never stands still for too long, however loaded the machine is.
            let limit = isCompleted ? "600" : "2"
            try await withClinic(["UPLOAD_BODY_TIMEOUT": limit, "HTTP_BODY_TIMEOUT": "0.2"]) { clinic async throws in
                let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 20_000), session: .random())
                let bytes = upload.recording
                let answer = try await clinic.server.withWire { wire async throws in
                    try await wire.send(upload.requestHead(token: clinic.token(.patient)))
                    try await wire.send(upload.head + bytes.prefix(1000))
                    if isCompleted {
                        // Longer than other bodies may stand still. The pause is what is tested.
                        try await Task.sleep(for: .milliseconds(900))
                        try await wire.send(bytes.dropFirst(1000) + upload.tail)
                    }
                    return try await wire.readResponse()
                }
                if isCompleted {
                    #expect(answer.status == 201)
                } else {
                    expectProblem(answer, 408, "request-timeout", detail: "/api/uploads")
                }
            }
        }
    }

    @Test("Without a length, the percentage grows by the usual size, and the message has the bytes")
    func noLength() async throws {
        try await withClinic { clinic async throws in
            // Recordings here usually have 100,000 bytes.
            let usual = Upload(patient: clinic.id(.patient), file: .wav(size: 100_000))
            for _ in 0..<3 { #expect(try await clinic.upload(usual, as: .patient).status == 201) }
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 300_000), session: id)
            let bytes = upload.recording
            try await clinic.server.withWire { wire async throws in
                try await wire.send(upload.requestHead(token: clinic.token(.patient), isChunked: true))
                try await wire.send(Upload.chunk(upload.head + bytes.prefix(5000)))
                for percentage in [10, 14] {
                    try await eventually("the percentage grows with the bytes") {
                        try await wire.send(Upload.chunk(bytes.suffix(5000)))
                        return try await clinic.progress(of: id)["progress"] as? Int ?? 0 >= percentage
                    }
                }
                let message = try await clinic.progress(of: id)["message"] as? String ?? ""
                #expect(message.hasSuffix("MB so far"), "\(message)")
            }
        }
    }
}
