import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport

/// A file to upload: its name, its declared type, and its bytes.
struct UploadFile: Sendable {
    var name: String?
    var type: String?
    var bytes: Data

    init(_ name: String?, _ type: String?, _ beginning: [UInt8], size: Int = 4000) {
        // The name of a file is private.
        name.map(CanaryWatch.shared.plant)
        self.name = name
        self.type = type
        // The filler has no byte with a meaning in multipart, and the bytes differ.
        bytes = Data(beginning + (0..<max(0, size - beginning.count)).map { UInt8(0x80 + $0 % 100) })
    }

    init(_ name: String?, _ type: String?, _ beginning: String, size: Int = 4000) {
        self.init(name, type, Array(beginning.utf8), size: size)
    }

    /// A frame of AAC in ADTS with 100 bytes.
    static let adtsFrame: [UInt8] = [0xFF, 0xF1, 0x50, 0x80, 12, 0x9F, 0xFC] + [UInt8](repeating: 0x22, count: 93)
    /// A frame of MP3 with 417 bytes.
    static let mp3Frame: [UInt8] = [0xFF, 0xFB, 0x90, 0x64] + [UInt8](repeating: 0x11, count: 413)

    static let wav = UploadFile("Sitzung 3.wav", "audio/wav", "RIFF\0\0\0\0WAVEfmt ")

    static func wav(size: Int) -> UploadFile { UploadFile("a.wav", "audio/wav", "RIFF\0\0\0\0WAVEfmt ", size: size) }
}

/// A form as a client sends it.
struct Upload: Sendable {
    static let boundary = "----boundary-of-a-test"

    /// Fields before the file.
    var fields: [(name: String, value: String)]
    var file: UploadFile?
    /// Fields after the file, where the server rejects them.
    var lateFields: [(name: String, value: String)] = []

    init(patient: UserID, file: UploadFile?, session: SessionID? = nil) {
        fields = [("patient_id", patient.description)]
        if let session { fields.append(("session_id", session.description)) }
        self.file = file
    }

    init(fields: [(name: String, value: String)], file: UploadFile?) {
        self.fields = fields
        self.file = file
    }

    /// The bytes before the file's.
    var head: Data {
        var head = Data()
        for field in fields { head.append(Self.part(field)) }
        if let file {
            let name = file.name.map { "; filename=\"\($0)\"" } ?? ""
            let type = file.type.map { "Content-Type: \($0)\r\n" } ?? ""
            head.append(
                Data("--\(Self.boundary)\r\nContent-Disposition: form-data; name=\"file\"\(name)\r\n\(type)\r\n".utf8))
        }
        return head
    }

    /// The bytes after the file's.
    var tail: Data {
        var tail = Data((file == nil ? "" : "\r\n").utf8)
        for field in lateFields { tail.append(Self.part(field)) }
        tail.append(Data("--\(Self.boundary)--\r\n".utf8))
        return tail
    }

    /// The bytes of the file.
    var recording: Data { file?.bytes ?? Data() }

    var body: Data { head + recording + tail }

    static let contentType = "multipart/form-data; boundary=\(boundary)"

    private static func part(_ field: (name: String, value: String)) -> Data {
        Data("--\(boundary)\r\nContent-Disposition: form-data; name=\"\(field.name)\"\r\n\r\n\(field.value)\r\n".utf8)
    }

    /// The head of the request, with its length or with chunks.
    func requestHead(token: String, isChunked: Bool = false) -> String {
        """
        POST /api/sessions/upload HTTP/1.1\r
        Host: test\r
        Authorization: Bearer \(token)\r
        Content-Type: \(Self.contentType)\r
        \(isChunked ? "Transfer-Encoding: chunked" : "Content-Length: \(body.count)")\r
        \r

        """
    }

    /// A chunk with these bytes.
    static func chunk(_ data: Data) -> Data {
        Data("\(String(data.count, radix: 16))\r\n".utf8) + data + Data("\r\n".utf8)
    }
}

extension Clinic {
    func upload(_ upload: Upload, as caller: Caller?) async throws -> TestResponse {
        try await server.request(
            .POST, "/api/sessions/upload", token: caller.map(token), headers: ["Content-Type": Upload.contentType],
            body: upload.body)
    }

    /// The names of the files in the folder of recordings, finished or not.
    func storedFiles() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: server.uploads.path(percentEncoded: false)).sorted()
    }

    /// The number of sessions besides the clinic's own.
    func uploadedSessions() async throws -> Int {
        try await database.query("SELECT FROM app.therapy_sessions WHERE id <> \(session.rawValue)").count
    }

    /// The progress object of a session.
    func progress(of id: SessionID) async throws -> [String: any Sendable] {
        try await request(.GET, "/api/sessions/\(id)/status", as: .admin).json()
    }

    /// Sends the first bytes of an upload as the patient, and lends its connection once the session exists.
    func beginUpload<Result: Sendable>(
        _ upload: Upload, of session: SessionID, upTo count: Int = 1000,
        _ body: (inout WireConnection) async throws -> Result
    ) async throws -> Result {
        try await server.withWire { wire in
            try await wire.send(upload.requestHead(token: token(.patient)))
            try await wire.send(upload.head + upload.recording.prefix(count))
            try await waitForSession(session)
            return try await body(&wire)
        }
    }

    /// Waits until the session of an upload exists.
    func waitForSession(_ id: SessionID) async throws {
        try await eventually("the session of the upload exists") {
            try await request(.GET, "/api/sessions/\(id)/status", as: .patient).status == 200
        }
    }

    /// Waits for the end of a session's stream, and returns its last event.
    func end(of id: SessionID) async throws -> StreamedEvent? {
        try await server.withStream("/api/sessions/\(id)/status/stream", token: token(.admin)) {
            try await $0.rest().last
        }
    }
}
