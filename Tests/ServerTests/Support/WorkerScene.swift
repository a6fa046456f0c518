import Domain
import Foundation
import NIOHTTP1
import Polling
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Recordings that the upload accepts.
enum Recording {
    /// A second of silence, 16 kHz mono.
    static let silence = wav(samples: 16_000)

    /// Data that begins like a WAV file and is none.
    static let corrupt = Data("RIFF\u{24}\u{0}\u{0}\u{0}WAVEfmt garbage".utf8) + Data(repeating: 0x55, count: 2000)

    /// Speech.
    static var demo: Data {
        get throws {
            try Data(contentsOf: packageRoot.appending(path: "Sources/App/Demo/demo-recording.ogg"))
        }
    }

    /// Silence, 16 kHz mono.
    ///
    /// - Parameters:
    ///   - samples: The number of samples.
    ///   - announced: The number of samples by the header, or nil for the true one.
    /// - Returns: The file.
    static func wav(samples: Int, announced: Int? = nil) -> Data {
        func little(_ value: Int, _ bytes: Int) -> Data { Data((0..<bytes).map { UInt8(value >> ($0 * 8) & 0xFF) }) }
        let format =
            little(16, 4) + little(1, 2) + little(1, 2) + little(16_000, 4) + little(32_000, 4)
            + little(2, 2) + little(16, 2)
        let size = (announced ?? samples) * 2
        return Data("RIFF".utf8) + little(36 + size, 4) + Data("WAVEfmt ".utf8) + format + Data("data".utf8)
            + little(size, 4) + Data(count: samples * 2)
    }
}

/// A therapist and a patient at a server with a worker.
struct WorkerScene: Sendable {
    let server: TestServer
    let patient: UserID
    let therapist: UserID
    let token: String

    var database: TestDatabase { server.database }

    init(_ server: TestServer) async throws {
        self.server = server
        patient = try await server.database.addUser(.patient)
        therapist = try await server.database.addUser(.therapist)
        try await server.database.assign(therapist, to: patient)
        token = try await server.token(therapist)
    }

    /// Uploads a recording by a form, as a browser does.
    func upload(
        _ recording: Data = Recording.silence, name: String = "session.wav", language: String? = nil
    ) async throws -> SessionID {
        let file = UploadFile(name, "application/octet-stream", Array(recording), size: recording.count)
        var upload = Upload(patient: patient, file: file)
        if let language { upload.fields.append(("language", language)) }
        let response = try await server.request(
            .POST, "/api/sessions/upload", token: token, headers: ["Content-Type": Upload.contentType],
            body: upload.body)
        #expect(response.status == 201, "\(response.text)")
        return try #require(try SessionID(response.json()["id"] as? String ?? ""))
    }

    /// Reads the stream of a session from its first version to its end.
    func watchToEnd(_ session: SessionID) async throws -> [StreamedEvent] {
        try await server.watchToEnd(session, token: token)
    }

    func get(_ path: String, _ session: SessionID, token: String? = nil) async throws -> TestResponse {
        try await server.request(.GET, "/api/sessions/\(session)\(path)", token: token ?? self.token)
    }

    /// The transitions in the database, each with its status and attempt.
    func history(of session: SessionID) async throws -> [String] { try await database.history(of: session) }

    func attempt(of session: SessionID) async throws -> Int {
        Int(
            try await database.query(
                "SELECT attempt FROM app.session_progress WHERE session_id = \(session.rawValue)"
            )[0].decode("attempt", as: Int32.self))
    }
}

extension TestServer {
    /// Reads the stream of a session from its first version to its end.
    func watchToEnd(_ session: SessionID, token: String) async throws -> [StreamedEvent] {
        let path = "/api/sessions/\(session)/status/stream"
        let events = try await withStream(path, token: token, lastEventID: "1") {
            try await $0.rest().filter { $0.event != nil }
        }
        try expectInOrder(events)
        return events
    }
}

extension TestDatabase {
    /// The transitions of a session, each with its status and attempt.
    func history(of session: SessionID) async throws -> [String] {
        try await query(
            "SELECT status || ' ' || attempt AS step FROM app.session_events WHERE session_id = \(session.rawValue) ORDER BY version"
        ).map { try $0.decode("step", as: String.self) }
    }
}

/// Lends a server with a worker, and a script for its transcription stage.
func withWorkerScene<Result: Sendable>(
    transcribing script: String, notes: String? = nil, _ settings: [String: String] = [:],
    clock: any MonotonicClock = ContinuousClock(),
    _ body: @escaping @Sendable (WorkerScene, ScriptFolder) async throws -> Result
) async throws -> Result {
    try await ScriptFolder.with { folder in
        var environment = settings
        environment["PIPELINE_STAGE_WRITES"] = folder.path
        environment["PIPELINE_TRANSCRIBE_COMMAND"] = try folder.command("transcribe.sh", script)
        if let notes { environment["PIPELINE_NOTES_COMMAND"] = try folder.command("notes.sh", notes) }
        return try await withServer(environment, runsWorker: true, clock: clock) {
            try await body(WorkerScene($0), folder)
        }
    }
}
