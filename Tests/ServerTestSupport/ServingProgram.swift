public import Foundation
import LocalPostgres
import NIOHTTP1
public import PostgresTestSupport
public import TestSupport

/// Lends a server in a process of its own.
public func withServingProgram<Result: Sendable>(
    over database: TestDatabase, _ environment: [String: String] = [:], canaries: CanaryWatch = .shared,
    _ body: @escaping @Sendable (TestServer, RunningProgram) async throws -> Result
) async throws -> Result {
    let port = try freePort()
    let uploads = FileManager.default.temporaryDirectory.appending(path: "tb-uploads-\(UUID().uuidString.prefix(8))")
    defer { try? FileManager.default.removeItem(at: uploads) }
    let settings = TestServer.settings(over: database, uploads: uploads).merging(["PORT": "\(port)"]) { $1 }
    return try await withRunningProgram(
        "serve", "--no-worker", environment: settings.merging(environment) { $1 }, canaries: canaries
    ) { program in
        let server = TestServer(database: database, port: port, uploads: uploads)
        try await eventually("the server is ready") { (try? await server.request(.GET, "/health/ready").status) == 200 }
        return try await body(server, program)
    }
}

extension TestServer {
    /// The settings of a server or a worker in a process of its own.
    public static func settings(over database: TestDatabase, uploads: URL) -> [String: String] {
        [
            "DATABASE_URL": database.url("therapybridge_server"), "JWT_SECRET": jwtSecret,
            "UPLOAD_DIR": uploads.path(percentEncoded: false), "SHUTDOWN_TIMEOUT": "5", "DATABASE_POOL_SIZE": "4",
        ]
    }
}
