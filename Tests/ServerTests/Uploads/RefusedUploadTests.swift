import Domain
import Foundation
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// Clients that send a whole body before they read the answer, as Firefox does.
@Suite("The answer to a refused upload", .deadline) struct RefusedUploadTests {
    private static let megabyte = Data(repeating: 0x80, count: 1 << 20)

    /// Sends the head and the form of an upload with a declared length, and then bytes.
    private func send(
        _ upload: Upload, megabytes: Int, _ clinic: Clinic, _ wire: inout WireConnection, headers: String = ""
    ) async throws {
        let length = upload.head.count + (upload.file?.bytes.count ?? 0) + megabytes << 20
        try await wire.send(
            """
            POST /api/sessions/upload HTTP/1.1\r
            Host: test\r
            Authorization: Bearer \(clinic.token(.patient))\r
            Content-Type: \(Upload.contentType)\r
            Content-Length: \(length)\r
            \(headers)\r

            """)
        try await wire.send(upload.head + upload.recording)
        for _ in 0..<megabytes { try await wire.send(Self.megabyte) }
    }

    @Test(
        "A client that sends 100 MB before it reads sees why the upload is refused",
        arguments: [
            (UploadFile("a.txt", "audio/mpeg", "hello"), ""),
            (UploadFile("a.mp3", "audio/mpeg", "<!DOCTYPE html><title>Sign in</title>"), ""),
            (UploadFile("a.docx", nil, "PK\u{3}\u{4}"), "Connection: close\r\n"),
        ])
    func whole(_ file: UploadFile, _ headers: String) async throws {
        try await withClinic { clinic in
            try await clinic.server.withWire { wire in
                let upload = Upload(patient: clinic.id(.patient), file: file)
                try await send(upload, megabytes: 100, clinic, &wire, headers: headers)
                let response = try await wire.readResponse()
                expectProblem(response, 415, "unsupported-media", detail: "This is a")
                #expect(response.headers["Connection"] == ["close"])
                // The server closes the connection soon after the body.
                #expect(try await wire.readToEnd().isEmpty)
            }
            #expect(try clinic.storedFiles() == [])
        }
    }

    @Test("The server answers before the body has arrived, and reads no more of it than its limit")
    func limit() async throws {
        try await withClinic(["UPLOAD_MAX_BYTES": "2000000"]) { clinic in
            try await clinic.server.withWire { wire in
                let file = UploadFile("a.txt", "audio/mpeg", "hello")
                let upload = Upload(patient: clinic.id(.patient), file: file)
                // Chunks have no declared length.
                try await wire.send(upload.requestHead(token: clinic.token(.patient), isChunked: true))
                try await wire.send(Upload.chunk(upload.head + file.bytes))
                expectProblem(try await wire.readResponse(), 415, "unsupported-media")
                await #expect(throws: (any Error).self) {
                    // More than the server and the buffers of both kernels take. The server closes the connection.
                    for _ in 0..<200 { try await wire.send(Upload.chunk(Self.megabyte)) }
                }
            }
        }
    }

    @Test("A client that is not signed in is not read to the end")
    func strangers() async throws {
        try await withClinic { clinic in
            try await clinic.server.withWire { wire in
                let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 1000))
                let head = upload.requestHead(token: "nonsense", isChunked: true)
                try await wire.send(head)
                try await wire.send(Upload.chunk(upload.head))
                expectProblem(try await wire.readResponse(), 401, "unauthorized")
                await #expect(throws: (any Error).self) {
                    for _ in 0..<200 { try await wire.send(Upload.chunk(Self.megabyte)) }
                }
            }
        }
    }
}
