import Crypto
import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// A client of the tus protocol for tests: one upload of one user.
struct ResumableClient: Sendable {
    let server: TestServer
    let token: String
    let content: Data
    var filename = "Sitzung.wav"
    var type: String? = "audio/wav"
    let patient: UserID
    var session = SessionID.random()
    /// Further pairs of the metadata.
    var more: [String: String] = [:]
    var path = ""

    static let octets = "application/offset+octet-stream"

    var metadata: String {
        var pairs = [
            "filename": filename, "patient_id": patient.description, "session_id": session.description,
        ]
        if let type { pairs["filetype"] = type }
        pairs.merge(more) { $1 }
        return pairs.map { "\($0.key) \(Data($0.value.utf8).base64EncodedString())" }.joined(separator: ",")
    }

    /// Sends a request with the version of the protocol.
    func send(
        _ method: HTTPMethod, _ path: String? = nil, headers: [String: String] = [:], body: Data? = nil
    ) async throws -> TestResponse {
        try await server.request(
            method, path ?? self.path, token: token, headers: ["Tus-Resumable": "1.0.0"].merging(headers) { $1 },
            body: body)
    }

    func create(headers: [String: String] = [:], body: Data? = nil) async throws -> TestResponse {
        var all = ["Upload-Length": "\(content.count)", "Upload-Metadata": metadata]
        if body != nil { all["Content-Type"] = Self.octets }
        return try await send(.POST, "/api/uploads", headers: all.merging(headers) { $1 }, body: body)
    }

    /// Creates the upload, and remembers its path.
    mutating func begin() async throws {
        let created = try await create()
        try #require(created.status == 201, "\(created.text)")
        path = try #require(created.headers.first(name: "Location"))
    }

    func patch(_ range: Range<Int>, headers: [String: String] = [:]) async throws -> TestResponse {
        try await send(
            .PATCH,
            headers: ["Upload-Offset": "\(range.lowerBound)", "Content-Type": Self.octets].merging(headers) { $1 },
            body: content[range])
    }

    /// Where the upload continues; nil unless the server answers with 200.
    func offset() async throws -> Int? {
        let response = try await send(.HEAD)
        return response.status == 200 ? Int(response.headers.first(name: "Upload-Offset") ?? "") : nil
    }

    /// The same upload at another server, or for another user.
    func at(_ server: TestServer? = nil, token: String? = nil) -> ResumableClient {
        var other = ResumableClient(
            server: server ?? self.server, token: token ?? self.token, content: content, patient: patient)
        (other.filename, other.type, other.session, other.path, other.more) = (filename, type, session, path, more)
        return other
    }

    /// The head of a `PATCH`, for a test that writes the body itself.
    func patchHead(_ range: Range<Int>, more: String = "") -> String {
        """
        PATCH \(path) HTTP/1.1\r
        Host: test\r
        Authorization: Bearer \(token)\r
        Tus-Resumable: 1.0.0\r
        Upload-Offset: \(range.lowerBound)\r
        Content-Type: \(Self.octets)\r
        Content-Length: \(range.count)\r
        \(more)\r

        """
    }

    static func checksum(_ data: Data) -> String {
        "sha1 \(Data(Insecure.SHA1.hash(data: data)).base64EncodedString())"
    }
}

extension Clinic {
    /// A client with a recording of a size for the clinic's patient.
    func resumable(_ size: Int, as caller: Caller = .therapist) -> ResumableClient {
        ResumableClient(
            server: server, token: token(caller), content: UploadFile.wav(size: size).bytes, patient: id(.patient))
    }

    /// Adds a second therapist of the patient, and returns a token.
    func colleague() async throws -> String {
        let colleague = try await database.addUser(.therapist)
        try await database.assign(colleague, to: id(.patient))
        return try await server.token(colleague)
    }

    /// Expects that a session has a recording with these bytes, and that nothing else is left of its upload.
    func expectRecording(_ client: ResumableClient) async throws {
        let progress = try await progress(of: client.session)
        #expect(progress["status"] as? String == "pending")
        #expect(progress["progress"] as? Int == 20)
        let recording = try await request(.GET, "/api/sessions/\(client.session)/recording", as: .admin)
        #expect(recording.status == 200)
        #expect(recording.body == client.content)
        let rows = try await database.query(
            "SELECT sha256 FROM app.therapy_sessions WHERE id = \(client.session.rawValue)")
        #expect(try rows[0].decode("sha256", as: [UInt8].self) == Array(SHA256.hash(data: client.content)))
        try await eventually("the parts of the upload are removed") {
            try storedFiles().allSatisfy { !$0.hasSuffix(".parts") }
        }
    }
}
