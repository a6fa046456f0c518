import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// A folder of one test, for the scripts of stages and their files.
struct ScriptFolder: Sendable {
    let url: URL

    /// Lends a folder, and removes it.
    static func with<Result>(_ body: (ScriptFolder) async throws -> Result) async throws -> Result {
        let url = FileManager.default.temporaryDirectory.appending(path: "tb-scripts-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: url) }
        return try await body(ScriptFolder(url: url))
    }

    var path: String { url.path(percentEncoded: false) }

    /// Writes a script.
    ///
    /// In it, `$folder` is this folder and `$1` is the recording.
    ///
    /// - Returns: The command that runs it, for a setting.
    func command(_ name: String, _ script: String) throws -> String {
        // A stage's output may quote the session, so its texts become canaries.
        for words in script.matches(of: /echo '([^{'][^']*)'/) { CanaryWatch.shared.plant(String(words.1)) }
        for words in script.matches(of: /"(?:text|message)": ?"([^"]*)"/) { CanaryWatch.shared.plant(String(words.1)) }
        let file = url.appending(path: name)
        try Data("folder='\(path)'\n\(script)\n".utf8).write(to: file)
        return "/bin/sh '\(file.path(percentEncoded: false))'"
    }

    /// Makes an empty file, which a script waits for.
    func touch(_ name: String) throws { try Data().write(to: url.appending(path: name)) }

    func remove(_ name: String) throws { try FileManager.default.removeItem(at: url.appending(path: name)) }

    func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path + "/" + name) }

    /// Waits for a file that a script makes.
    func wait(for name: String) async throws { try await eventually("the file \(name) of a script") { exists(name) } }

    func text(of name: String) throws -> String { try String(contentsOf: url.appending(path: name), encoding: .utf8) }
}

/// Scripts that several tests use.
enum Script {
    /// The transcript of every recording.
    static let transcript = #"{"text":"good morning","segments":[{"start":0,"end":1.5,"text":"good morning"}]}"#

    /// Prints progress and the transcript.
    static let transcribes = """
        echo '{"progress": 25, "message": "A quarter"}'
        echo '{"progress": 75, "message": "Three quarters"}'
        echo '{"result": \(transcript)}'
        """

    /// Prints progress, makes the file `begun`, waits for the file `go`, and prints the transcript.
    static let waits = """
        echo '{"progress": 50, "message": "Half"}'
        touch "$folder/begun"
        while [ ! -e "$folder/go" ]; do sleep 0.05; done
        echo '{"result": \(transcript)}'
        """
}

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

    private static func wav(samples: Int) -> Data {
        func little(_ value: Int, _ bytes: Int) -> Data { Data((0..<bytes).map { UInt8(value >> ($0 * 8) & 0xFF) }) }
        let format =
            little(16, 4) + little(1, 2) + little(1, 2) + little(16_000, 4) + little(32_000, 4)
            + little(2, 2) + little(16, 2)
        return Data("RIFF".utf8) + little(36 + samples * 2, 4) + Data("WAVEfmt ".utf8) + format + Data("data".utf8)
            + little(samples * 2, 4) + Data(count: samples * 2)
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
    func upload(_ recording: Data = Recording.silence, name: String = "session.wav") async throws -> SessionID {
        CanaryWatch.shared.plant(name)
        let boundary = "boundary-of-this-test"
        var body = Data(
            """
            --\(boundary)\r
            Content-Disposition: form-data; name="patient_id"\r
            \r
            \(patient)\r
            --\(boundary)\r
            Content-Disposition: form-data; name="file"; filename="\(name)"\r
            Content-Type: application/octet-stream\r
            \r\n
            """.utf8)
        body += recording
        body += Data("\r\n--\(boundary)--\r\n".utf8)
        let response = try await server.request(
            .POST, "/api/sessions/upload", token: token,
            headers: ["Content-Type": "multipart/form-data; boundary=\(boundary)"], body: body)
        #expect(response.status == 201, "\(response.text)")
        return try #require(try SessionID(response.json()["id"] as? String ?? ""))
    }

    /// Reads the stream of a session from its first version to its end.
    func watchToEnd(_ session: SessionID) async throws -> [StreamedEvent] {
        let headers: HTTPHeaders = ["Authorization": "Bearer \(token)", "Last-Event-ID": "1"]
        let events = try await server.withStream("/api/sessions/\(session)/status/stream", headers: headers) {
            try await $0.rest().filter { $0.event != nil }
        }
        try expectInOrder(events)
        return events
    }

    func get(_ path: String, _ session: SessionID, token: String? = nil) async throws -> TestResponse {
        try await server.request(.GET, "/api/sessions/\(session)\(path)", token: token ?? self.token)
    }

    /// The transitions in the database, each with its status and attempt.
    func history(of session: SessionID) async throws -> [String] {
        try await database.query(
            "SELECT status || ' ' || attempt AS step FROM app.session_events WHERE session_id = \(session.rawValue) ORDER BY version"
        ).map { try $0.decode("step", as: String.self) }
    }

    func attempt(of session: SessionID) async throws -> Int {
        Int(
            try await database.query(
                "SELECT attempt FROM app.session_progress WHERE session_id = \(session.rawValue)"
            )[0].decode("attempt", as: Int32.self))
    }
}

/// Lends a server with a worker, and a script for its transcription stage.
func withWorkerScene<Result: Sendable>(
    transcribing script: String, notes: String? = nil,
    _ body: @escaping @Sendable (WorkerScene, ScriptFolder) async throws -> Result
) async throws -> Result {
    try await ScriptFolder.with { folder in
        var environment = ["PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", script)]
        if let notes { environment["PIPELINE_NOTES_COMMAND"] = try folder.command("notes.sh", notes) }
        return try await withServer(environment, runsWorker: true) { try await body(WorkerScene($0), folder) }
    }
}
