import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct UploadSizeTests {
    @Test("An upload of exactly the maximum is accepted, and one byte more is not")
    func exactly() async throws {
        try await withClinic(["UPLOAD_MAX_BYTES": "5000"]) { clinic in
            let fits = Upload(patient: clinic.id(.patient), file: .wav(size: 5000))
            #expect(try await clinic.upload(fits, as: .patient).status == 201)
            #expect(try clinic.storedFiles().count == 1)
            let id = SessionID.random()
            let over = Upload(patient: clinic.id(.patient), file: .wav(size: 5001), session: id)
            expectProblem(try await clinic.upload(over, as: .patient), 413, "too-large", detail: "5000")
            #expect(try clinic.storedFiles().count == 1)
            let progress = try await clinic.progress(of: id)
            #expect(progress["status"] as? String == "failed")
            #expect((progress["error"] as? String)?.contains("5000") == true)
        }
    }

    @Test("A declared length over the maximum gets 413 before a session is made")
    func declared() async throws {
        try await withClinic(["UPLOAD_MAX_BYTES": "5000"]) { clinic in
            let response = try await clinic.server.withWire { wire in
                try await wire.send(
                    """
                    POST /api/sessions/upload HTTP/1.1\r
                    Host: test\r
                    Authorization: Bearer \(clinic.token(.patient))\r
                    Content-Type: \(Upload.contentType)\r
                    Content-Length: 1000000000\r
                    \r

                    """)
                return try await wire.readResponse()
            }
            expectProblem(response, 413, "too-large")
            #expect(response.headers["Connection"] == ["close"])
            #expect(try await clinic.uploadedSessions() == 0)
        }
    }

    @Test("An undeclared length over the maximum gets 413 during the upload")
    func midStream() async throws {
        try await withClinic(["UPLOAD_MAX_BYTES": "5000"]) { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 1000), session: id)
            let response = try await clinic.server.withWire { wire in
                try await wire.send(upload.requestHead(token: clinic.token(.patient), isChunked: true))
                try await wire.send(Upload.chunk(upload.head + upload.recording))
                for _ in 0..<5 { try await wire.send(Upload.chunk(Data(repeating: 0x80, count: 1000))) }
                // The body is not complete: the server answers without waiting for its end.
                return try await wire.readResponse()
            }
            expectProblem(response, 413, "too-large")
            #expect(response.headers["Connection"] == ["close"])
            #expect(try await clinic.progress(of: id)["status"] as? String == "failed")
            #expect(try clinic.storedFiles() == [])
        }
    }

    @Test("The whole body counts against the maximum, not the file alone")
    func trailer() async throws {
        try await withClinic(["UPLOAD_MAX_BYTES": "5000"]) { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 1000), session: id)
            let response = try await clinic.server.withWire { wire in
                try await wire.send(upload.requestHead(token: clinic.token(.patient), isChunked: true))
                // The form is complete, and then the body goes on.
                for data in [upload.body] + Array(repeating: Data(repeating: 0x20, count: 10_000), count: 8) {
                    try await wire.send(Upload.chunk(data))
                }
                return try await wire.readResponse()
            }
            expectProblem(response, 413, "too-large", detail: "70536")
            #expect(try await clinic.progress(of: id)["status"] as? String == "failed")
            #expect(try clinic.storedFiles() == [])
            let charged = try await clinic.database.query("SELECT bytes FROM app.upload_charges")
            #expect(try charged[0].decode("bytes", as: Int64.self) > 65_536)
        }
    }
}
