import Foundation
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
    let uploads = TestServer.newUploadFolder()
    defer { try? FileManager.default.removeItem(at: uploads) }
    let settings = TestServer.settings(over: database, port: port, uploads: uploads)
    return try await withRunningProgram(
        "serve", "--no-worker", environment: settings.merging(environment) { $1 }, canaries: canaries
    ) { program in
        let server = TestServer(database: database, port: port, uploads: uploads)
        try await eventually("the server is ready") { (try? await server.request(.GET, "/health/ready").status) == 200 }
        return try await body(server, program)
    }
}
