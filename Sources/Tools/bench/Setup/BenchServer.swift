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
    /// Its settings are the defaults, except for the limits of one user, one sign-in and one address: all clients of
    /// the benchmark have the same address.
    ///
    /// - Parameters:
    ///   - program: The path of the program.
    ///   - database: The database.
    ///   - scratch: The folder for uploads and the log.
    ///   - settings: Further settings.
    ///   - body: Uses the server.
    /// - Returns: The value of `body`.
    /// - Throws: The error of `body`; `BenchmarkError` when the server does not start.
    static func lend<Result: Sendable>(
        program: String, over database: BenchDatabase, in scratch: ScratchDirectory, settings: [String: String] = [:],
        _ body: (BenchServer) async throws -> Result
    ) async throws -> Result {
        let port = try freePort()
        let usual = [
            "DATABASE_URL": database.url("therapybridge_server"), "JWT_SECRET": BenchDatabase.jwtSecret,
            "UPLOAD_QUOTA_BYTES": "0", "UPLOADS_PER_HOUR": "0",
            "UPLOAD_DIR": try scratch.makeFolder("uploads-\(port)"), "PORT": "\(port)",
            "SSE_MAX_STREAMS_PER_USER": "100000", "REQUESTS_PER_SIGN_IN": "0", "REQUESTS_PER_ADDRESS": "0",
        ]
        return try await ServerProcess.lend(
            program, ["serve", "--no-worker"], environment: usual.merging(settings) { $1 },
            log: scratch.path("server.log")
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
/// - Parameters:
///   - port: The port of the server.
///   - path: The path of the request.
///   - json: The body; nil for a request without one.
///   - token: The access token; nil for a request without one.
///   - address: The address of the client, as a proxy forwards it; nil for this machine's.
/// - Returns: The status and the body of the answer.
/// - Throws: The error of the connection.
func post(
    port: Int, _ path: String, _ json: String?, token: String? = nil, from address: String? = nil
) async throws -> (status: Int, body: ByteBuffer) {
    try await send(.POST, port: port, path, json, token: token, from: address)
}

/// Sends a request to a server on this machine, with the parameters of ``post(port:_:_:token:from:)``.
func send(
    _ method: HTTPMethod, port: Int, _ path: String, _ json: String? = nil, token: String? = nil,
    from address: String? = nil
) async throws -> (status: Int, body: ByteBuffer) {
    var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)\(path)")
    request.method = method
    if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
    if let address { request.headers.add(name: "X-Forwarded-For", value: address) }
    if let json {
        request.headers.add(name: "Content-Type", value: "application/json")
        request.body = .bytes(ByteBuffer(string: json))
    }
    let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
    return (Int(response.status.code), try await response.body.collect(upTo: 16 << 20))
}
