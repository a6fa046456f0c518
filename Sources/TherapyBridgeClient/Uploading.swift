import AsyncHTTPClient
import Crypto
import NIOCore
import NIOHTTP1

#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// What an upload is about.
public struct Recording: Sendable {
    /// The file of the recording.
    public var file: URL
    /// The patient's id.
    public var patient: String
    /// The id of the session, which can be watched from the first byte on.
    ///
    /// The same id, name and size continue an unfinished upload.
    public var session = UUID().uuidString.lowercased()
    /// The date of the session (RFC 3339), or nil for now.
    public var date: String?
    /// The language (BCP 47), or nil if it is not known.
    public var language: String?
    /// Bytes in a request, or nil for 64 KiB to 16 MiB by the speed of the network.
    public var chunkSize: Int?
    /// False to send no checksums.
    public var sendsChecksums = true

    /// Describes an upload.
    ///
    /// - Parameters:
    ///   - file: The file of the recording.
    ///   - patient: The patient's id.
    public init(file: URL, patient: String) {
        self.file = file
        self.patient = patient
    }
}

extension TherapyBridge {
    /// Uploads a recording by the tus protocol, and continues after each fault of the network.
    ///
    /// - Parameters:
    ///   - recording: What to upload.
    ///   - onProgress: Called with the bytes that the server has stored, and with all bytes.
    /// - Returns: The session.
    /// - Throws: ``APIError`` if the server refuses the upload, or after 24 attempts without a new byte; the error of the
    ///   file; `CancellationError`.
    public func upload(
        _ recording: Recording, onProgress: @Sendable (_ sent: Int, _ total: Int) -> Void = { _, _ in }
    ) async throws -> TherapySession {
        var upload = try UploadInProgress(self, recording)
        while true {
            try Task.checkCancellation()
            do {
                if try await upload.step(onProgress) { return try await session(recording.session) }
            } catch let error as APIError {
                guard let delay = upload.failed(error) else { throw error }
                try await options.clock.sleep(for: delay)
            }
        }
    }
}

/// An upload between two requests.
private struct UploadInProgress {
    private static let maximumFailures = 24
    private static let chunks = 64 * 1024...16 * 1024 * 1024

    private let client: TherapyBridge
    private let recording: Recording
    private let file: OpenFile
    private let length: Int
    private var location: String?
    private var offset: Int?
    private var chunk: Int
    private var failures = 0

    init(_ client: TherapyBridge, _ recording: Recording) throws {
        self.client = client
        self.recording = recording
        file = try OpenFile(recording.file)
        length = try file.length
        chunk = recording.chunkSize ?? 1024 * 1024
    }

    /// Makes the next request.
    ///
    /// - Returns: True if the server has all bytes.
    mutating func step(_ onProgress: (Int, Int) -> Void) async throws -> Bool {
        if let location {
            if let offset { try await send(from: offset, to: location) } else { try await ask(location) }
        } else {
            try await create()
        }
        onProgress(offset ?? 0, length)
        return offset == length
    }

    /// Notes a failure.
    ///
    /// - Returns: How long to wait before the next request; nil if none can help.
    mutating func failed(_ error: APIError) -> Duration? {
        let isRepeatable = error.isTemporary || error.status == 460 || (error.status == 409 && location != nil)
        failures += 1
        guard isRepeatable, failures <= Self.maximumFailures else { return nil }
        if error.status == 0, recording.chunkSize == nil { chunk = max(Self.chunks.lowerBound, chunk / 2) }
        offset = nil  // Ask the server.
        return BackOff.delay(client.options.retry / 2, failures: failures - 1, minimum: error.retryAfter)
    }

    /// Creates the upload.
    ///
    /// A repeat with the same session id continues an upload whose answer was lost.
    private mutating func create() async throws {
        var metadata = [
            ("filename", recording.file.lastPathComponent), ("patient_id", recording.patient),
            ("session_id", recording.session),
        ]
        if let date = recording.date { metadata.append(("session_date", date)) }
        if let language = recording.language { metadata.append(("language", language)) }
        let pairs = metadata.map { "\($0.0) \(Data($0.1.utf8).base64EncodedString())" }
        let answer = try await request(
            .POST, "/api/uploads",
            [("Upload-Length", String(length)), ("Upload-Metadata", pairs.joined(separator: ","))])
        guard let path = answer.response.headers.first(name: "Location") else {
            throw APIError(status: 0, detail: "The answer has no Location.")
        }
        location = try client.location(path)
        offset = Int(answer.response.headers.first(name: "Upload-Offset") ?? "0")
    }

    private mutating func ask(_ location: String) async throws {
        try take(offsetOf: try await request(.HEAD, location))
    }

    private mutating func send(from start: Int, to location: String) async throws {
        let bytes = try file.read(min(chunk, length - start), at: start)
        guard !bytes.isEmpty else { throw CocoaError(.fileReadCorruptFile) }  // The file became shorter.
        var headers = [("Content-Type", "application/offset+octet-stream"), ("Upload-Offset", String(start))]
        if recording.sendsChecksums {
            headers.append(("Upload-Checksum", "sha256 \(Data(SHA256.hash(data: bytes)).base64EncodedString())"))
        }
        let stopwatch = client.options.clock.stopwatch()
        try take(offsetOf: try await request(.PATCH, location, headers, .bytes(ByteBuffer(bytes: bytes))))
        failures = 0
        guard recording.chunkSize == nil else { return }
        let took = stopwatch()
        if took < .seconds(2) { chunk = min(Self.chunks.upperBound, chunk * 2) }
        if took > .seconds(8) { chunk = max(Self.chunks.lowerBound, chunk / 2) }
    }

    private mutating func take(offsetOf answer: TherapyBridge.Answer) throws {
        guard let value = Int(answer.response.headers.first(name: "Upload-Offset") ?? "") else {
            throw APIError(status: 0, detail: "The answer has no Upload-Offset.")
        }
        offset = value
    }

    private func request(
        _ method: HTTPMethod, _ path: String, _ headers: [(String, String)] = [], _ body: TherapyBridge.Body? = nil
    ) async throws -> TherapyBridge.Answer {
        try await client.authorised(method, path, headers: [("Tus-Resumable", "1.0.0")] + headers, body: body).checked()
    }
}
