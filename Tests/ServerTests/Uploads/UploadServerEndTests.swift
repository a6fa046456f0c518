import Domain
import Foundation
import LocalPostgres
import NIOCore
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Uploads by the form whose server ends, or loses its database, in the middle: any server takes the repeat.
@Suite("Uploads whose server ends", .deadline) struct UploadServerEndTests {
    /// Two servers in processes of their own, over one database and one folder of recordings.
    private struct Servers: Sendable {
        let first: TestServer
        let program: RunningProgram
        let second: TestServer
        let patient: UserID
        let token: String

        func upload(_ session: SessionID) -> Upload {
            Upload(patient: patient, file: .wav(size: 300_000), session: session)
        }

        func progress(of session: SessionID) async throws -> [String: any Sendable] {
            try await second.request(.GET, "/api/sessions/\(session)/status", token: token).json()
        }

        /// Sends the beginning of an upload to the first server, and lends its connection once the upload is under way.
        func begin<Result: Sendable>(
            _ upload: Upload, of session: SessionID, upTo count: Int,
            _ body: (inout WireConnection) async throws -> Result
        ) async throws -> Result {
            try await first.withWire { wire in
                try await wire.send(upload.requestHead(token: token))
                try await wire.send(upload.head + upload.recording.prefix(count))
                try await eventually("the upload is under way") {
                    try await progress(of: session)["status"] as? String == "uploading"
                }
                return try await body(&wire)
            }
        }

        /// Repeats an upload at a server, and expects that the server takes it.
        func `repeat`(_ upload: Upload, of session: SessionID, at server: TestServer) async throws {
            let answer = try await server.request(
                .POST, "/api/sessions/upload", token: token, headers: ["Content-Type": Upload.contentType],
                body: upload.body)
            #expect(answer.status == 201, "\(answer.text)")
            let progress = try await progress(of: session)
            #expect(progress["status"] as? String == "pending")
            #expect(progress["attempt"] as? Int == 2)
            let recording = try await second.request(.GET, "/api/sessions/\(session)/recording", token: token)
            #expect(recording.status == 200)
            #expect(recording.body == upload.file?.bytes)
        }
    }

    private func withServers(
        over database: TestDatabase, _ environment: [String: String] = [:],
        _ body: @escaping @Sendable (Servers, [String: String]) async throws -> Void
    ) async throws {
        try await withTemporaryFolder("shared") { folder in
            let uploads = folder.appending(path: "uploads").path(percentEncoded: false)
            let shared = ["UPLOAD_DIR": uploads].merging(environment) { $1 }
            let patient = try await database.addUser(.patient)
            try await withServingProgram(over: database, shared) { first, program in
                try await withServingProgram(over: database, shared) { second, _ in
                    let token = try await second.token(patient)
                    try await body(
                        Servers(first: first, program: program, second: second, patient: patient, token: token), shared)
                }
            }
        }
    }

    enum End: String, CaseIterable, Sendable {
        /// SIGKILL: the server can say nothing more.
        case killed
        /// SIGTERM, and the client sends nothing for longer than SHUTDOWN_TIMEOUT.
        case terminated
    }

    @Test(
        "After a server is killed or stopped in the middle of an upload, another one and a restarted one take the repeat",
        arguments: End.allCases, [true, false])
    func ends(by end: End, restarts: Bool) async throws {
        try await withDatabase { database in
            try await withServers(over: database, ["SHUTDOWN_TIMEOUT": "0.5"]) { servers, environment in
                let session = SessionID.random()
                let upload = servers.upload(session)
                try await servers.begin(upload, of: session, upTo: 100_000) { wire in
                    switch end {
                    case .killed: try servers.program.kill()
                    case .terminated: try servers.program.terminate()
                    }
                    // The end of the connection is that of the process, or its answer. A killed process resets it.
                    do { _ = try await wire.readToEnd() } catch is IOError {}
                }
                if restarts {
                    try await withServingProgram(over: database, environment) { restarted, _ in
                        try await servers.repeat(upload, of: session, at: restarted)
                    }
                } else {
                    try await servers.repeat(upload, of: session, at: servers.second)
                }
            }
        }
    }

    @Test(
        "After the database was away at the last byte, the recording is entered, and a repeat gets the same session",
        arguments: [true, false])
    func databaseAway(isSame: Bool) async throws {
        try await withOwnCluster { database in
            try await withServers(over: database) { servers, _ in
                let session = SessionID.random()
                let upload = servers.upload(session)
                let answer = try await servers.begin(upload, of: session, upTo: 299_000) { wire in
                    try await database.cluster.stop(mode: .immediate)
                    try await wire.send(upload.recording.dropFirst(299_000) + upload.tail)
                    return try await wire.readResponse()
                }
                expectProblem(answer, 503, "unavailable")
                try await database.cluster.start()
                let server = isSame ? servers.first : servers.second
                try await eventually("the server has its database again") {
                    try await server.request(.GET, "/health/ready").status == 200
                }
                try await eventually("the recording is entered") {
                    try await servers.progress(of: session)["status"] as? String == "pending"
                }
                let again = try await server.request(
                    .POST, "/api/sessions/upload", token: servers.token, headers: ["Content-Type": Upload.contentType],
                    body: upload.body)
                #expect(again.status == 200, "\(again.text)")
                #expect(try await servers.progress(of: session)["attempt"] as? Int == 1)
            }
        }
    }
}
