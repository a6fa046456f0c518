import AsyncHTTPClient
import Foundation
import LocalPostgres
import NIOCore
import NIOHTTP1

/// The measured server: `therapybridge serve --no-worker` in a process of its own.
struct BenchServer: Sendable {
    let process: ServerProcess
    let port: Int

    var figures: ProcessFigures { ProcessFigures(processID: process.processID) }

    /// Starts a server with the database, lends it and ends it.
    ///
    /// Its settings are the defaults, except for the streams per user and the limits of uploads.
    static func lend<Result: Sendable>(
        program: String, over database: BenchDatabase, in scratch: ScratchDirectory,
        _ body: (BenchServer) async throws -> Result
    ) async throws -> Result {
        let port = try freePort()
        let settings = [
            "DATABASE_URL": database.url("therapybridge_server"), "JWT_SECRET": BenchDatabase.jwtSecret,
            "UPLOAD_QUOTA_BYTES": "0", "UPLOADS_PER_HOUR": "0",
            "UPLOAD_DIR": try scratch.makeFolder("uploads"), "PORT": "\(port)",
            "SSE_MAX_STREAMS_PER_USER": "100000",
        ]
        return try await ServerProcess.lend(
            program, ["serve", "--no-worker"], environment: settings, log: scratch.path("server.log")
        ) { process in
            let server = BenchServer(process: process, port: port)
            try await process.wait { await answers(port: port, "/health/ready") }
            return try await body(server)
        }
    }
}

/// Whether a server on this machine answers a request with 200.
func answers(port: Int, _ path: String) async -> Bool {
    let request = HTTPClientRequest(url: "http://127.0.0.1:\(port)\(path)")
    return (try? await HTTPClient.shared.execute(request, timeout: .seconds(5)).status.code) == 200
}

/// Posts JSON to a server on this machine.
///
/// - Returns: The status and the body of the answer.
func post(
    port: Int, _ path: String, _ json: String, token: String? = nil
) async throws -> (status: Int, body: ByteBuffer) {
    var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)\(path)")
    request.method = .POST
    request.headers.add(name: "Content-Type", value: "application/json")
    if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
    request.body = .bytes(ByteBuffer(string: json))
    let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
    return (Int(response.status.code), try await response.body.collect(upTo: 16 << 20))
}
