import Domain
import Foundation
import LocalPostgres
import NIOCore
import NIOHTTP1
import Postgres
import PostgresTestSupport
import Recordings
import ServerTestSupport
import TestSupport
import Testing

/// docs/uploads.md, "When the server or the database ends".
///
/// Two servers run in processes of their own, over one database and one folder. The first one gets the upload. The second one
/// stands for the other servers, and for the first one after its restart.
@Suite("Uploads in every state of the server and the database", .deadline(.seconds(400))) struct UploadStateTests {
    /// What the states of one way share.
    private struct Scene: Sendable {
        let way: UploadWay
        let database: TestDatabase
        let folder: URL
        let second: TestServer
        let patient: UserID
        let token: String

        var environment: [String: String] {
            ["UPLOAD_DIR": folder.path(percentEncoded: false), "SHUTDOWN_TIMEOUT": "5"]
        }

        func status(of session: SessionID) async throws -> String? {
            let answer = try await second.request(.GET, "/api/sessions/\(session)/status", token: token)
            return answer.status == 200 ? try answer.json()["status"] as? String : nil
        }

        /// True once a server receives the body of an upload.
        func isUnderWay(_ session: SessionID) async throws -> Bool {
            guard way == .resumable else {
                let row = try await database.query(
                    "SELECT upload_key FROM app.therapy_sessions WHERE id = \(session) AND upload_key IS NOT NULL"
                ).first
                guard let key = try row?.decode("upload_key", as: String.self) else { return false }
                // The server opens the file after the last statement that the upload needs before its body. The status alone
                // is there while that statement may still fail.
                return Self.has(key, in: folder)
            }
            return try await !database.query(
                "SELECT FROM app.resumable_uploads WHERE session_id = \(session.rawValue) AND writer IS NOT NULL"
            ).isEmpty
        }

        /// True if a receipt says that the recording of a session waits.
        func isKept(_ session: SessionID) -> Bool {
            Self.has(session.description, in: folder.appending(path: RecordingStore.receiptsFolder))
        }

        /// True if the name of a file in a folder begins with a text.
        private static func has(_ beginning: String, in folder: URL) -> Bool {
            let names = try? FileManager.default.contentsOfDirectory(atPath: folder.path(percentEncoded: false))
            return names?.contains { $0.hasPrefix(beginning) } ?? false
        }
    }

    /// One upload, by one of the ways.
    private struct Client: Sendable {
        let form: Upload
        var resumable: ResumableClient

        var session: SessionID { resumable.session }

        init(_ scene: Scene, _ first: TestServer) {
            let file = UploadFile.wav(size: 300_000)
            resumable = ResumableClient(
                server: first, token: scene.token, content: file.bytes, patient: scene.patient)
            form = Upload(patient: scene.patient, file: file, session: resumable.session)
        }

        /// Sends the beginning of the body.
        mutating func begin(_ way: UploadWay, _ wire: WireConnection) async throws {
            switch way {
            case .form:
                try await wire.send(form.requestHead(token: resumable.token))
                try await wire.send(form.head + form.recording.prefix(100_000))
            case .resumable:
                try await resumable.begin()
                try await wire.send(resumable.patchHead(0..<300_000))
                try await wire.send(resumable.content.prefix(100_000))
            }
        }

        func sendRest(_ way: UploadWay, _ wire: WireConnection) async throws {
            let rest = form.recording.dropFirst(100_000)
            try await wire.send(way == .form ? rest + form.tail : rest)
        }

        /// Does what the documentation tells clients to do next, and returns what the server says.
        func goOn(_ way: UploadWay, at server: TestServer) async throws -> String {
            switch way {
            case .form:
                let answer = try await server.request(
                    .POST, "/api/sessions/upload", token: resumable.token,
                    headers: ["Content-Type": Upload.contentType], body: form.body)
                return "\(answer.status)"
            case .resumable:
                let client = resumable.at(server)
                let offset = try #require(try await client.offset())
                if offset == 300_000 { return "complete" }
                return "\(try await client.patch(offset..<300_000).status)"
            }
        }
    }

    /// The ways that this run tests: `make test-uploads` tests all.
    ///
    /// A resumable upload whose server gets no processor for three seconds loses its lease, and the client goes on with another
    /// request. On a machine with other work, most of its states are not reached.
    private static let ways: [UploadWay] =
        ProcessInfo.processInfo.environment["UPLOAD_STATES"] == "all" ? UploadWay.allCases : [.form]

    @Test(
        "The client is told, nothing is lost, and the next request does what the documentation says", arguments: ways)
    func states(_ way: UploadWay) async throws {
        let rows = try await withOwnCluster { database in
            try await withTemporaryFolder("states") { folder in
                let uploads = folder.appending(path: "uploads")
                let patient = try await database.addUser(.patient)
                let shared = ["UPLOAD_DIR": uploads.path(percentEncoded: false)]
                return try await withServingProgram(over: database, shared) { second, _ in
                    let scene = Scene(
                        way: way, database: database, folder: uploads, second: second, patient: patient,
                        token: try await second.token(patient))
                    var rows: [[String]] = []
                    for state in UploadState.all(way) {
                        try await Self.run(state, scene)
                        rows.append(state.row(of: way))
                    }
                    return rows
                }
            }
        }
        try GeneratedPart(name: "upload-states-\(way.rawValue)").hold(
            table(["what happens during the upload", "answer", "the session then", "the client's next request"], rows))
    }

    private static func run(_ state: UploadState, _ scene: Scene) async throws {
        let (client, answer) = try await withServingProgram(over: scene.database, scene.environment) { first, program in
            var client = Client(scene, first)
            let (before, after) = parts(state.steps)
            let answer = try await first.withWire { wire in
                try await client.begin(scene.way, wire)
                try await eventually("\(state.event): the upload is under way") {
                    try await scene.isUnderWay(client.session)
                }
                for step in before { try await take(step, client, wire, program, scene) }
                return after == nil ? try await Self.answer(&wire) : "none"
            }
            for step in after ?? [] { try await take(step, client, nil, program, scene) }
            if state.steps.contains(.serverStops) {
                try await eventually("\(state.event): the server has ended") { program.hasEnded }
            }
            return (client, answer)
        }
        #expect(answer == state.answer, "\(state.event)")
        if state.steps.contains(.databaseStops), !state.steps.contains(.databaseStarts) {
            try await scene.database.cluster.start()
        }
        try await eventually("\(state.event): the second server is ready") {
            try await scene.second.request(.GET, "/health/ready").status == 200
        }
        try await eventually("\(state.event): the session is \(state.session)") {
            try await scene.status(of: client.session) == state.session
        }
        let next = try await client.goOn(scene.way, at: scene.second)
        #expect(next == state.next, "\(state.event)")
        #expect(try await scene.status(of: client.session) == "pending", "\(state.event)")
        let recording = try await scene.second.request(
            .GET, "/api/sessions/\(client.session)/recording", token: scene.token)
        #expect(recording.status == 200, "\(state.event)")
        #expect(recording.body == client.resumable.content, "\(state.event)")
        try await eventually("\(state.event): no receipt is left") { !scene.isKept(client.session) }
    }

    /// The steps before the client goes, and those after; nil if the client stays for its answer.
    private static func parts(_ steps: [UploadStep]) -> (before: [UploadStep], after: [UploadStep]?) {
        guard let index = steps.firstIndex(of: .clientGoes) else { return (steps, nil) }
        return (Array(steps[..<index]), Array(steps[(index + 1)...]))
    }

    private static func take(
        _ step: UploadStep, _ client: Client, _ wire: WireConnection?, _ program: RunningProgram, _ scene: Scene
    ) async throws {
        switch step {
        case .databaseStops: try await scene.database.cluster.stop(mode: .immediate)
        case .databaseStarts: try await scene.database.cluster.start()
        case .rest: if let wire { try await client.sendRest(scene.way, wire) }
        case .kept: try await eventually("the recording is kept") { scene.isKept(client.session) }
        case .serverStops: try program.terminate()
        case .serverDies: try program.kill()
        case .clientGoes: break
        }
    }

    /// The status of the answer, or "none" if the connection ends without one.
    private static func answer(_ wire: inout WireConnection) async throws -> String {
        do {
            let answer = try await wire.readResponse()
            if answer.status == 503 {
                expectProblem(answer, 503, "unavailable")
                #expect(answer.headers["Retry-After"].count == 1)
            }
            return "\(answer.status)"
        } catch is WireConnection.EndedTooEarly {
            return "none"
        } catch is IOError {
            return "none"
        }
    }
}
