import Foundation
import LocalPostgres
import Postgres

/// The server of this test process: started by the first test that needs it, stopped when the process ends.
actor TestCluster {
    static let shared = TestCluster()

    private var starting: Task<LocalPostgres, any Error>?

    /// The server, which tests must not stop or restart.
    func server() async throws -> LocalPostgres {
        if let starting { return try await starting.value }
        // Kept for the life of the process, so not structured.
        let task = Task { try await startTestServer(settings: ["max_connections": "200"]) }
        starting = task
        return try await task.value
    }
}

/// Starts a server in a fresh directory.
func startTestServer(settings: [String: String] = [:], listensOnLoopback: Bool = true) async throws -> LocalPostgres {
    try await LocalPostgres.start(
        directory: newTestDirectory(), settings: settings, fsync: false, listensOnLoopback: listensOnLoopback)
}

/// The path of a fresh directory under /tmp.
///
/// The directory stays behind when the process ends; the next one removes those of processes that are gone.
func newTestDirectory() -> String {
    let prefix = "tb-pgtest-"
    for name in (try? FileManager.default.contentsOfDirectory(atPath: "/tmp")) ?? [] where name.hasPrefix(prefix) {
        let owner = name.dropFirst(prefix.count).prefix { $0 != "-" }
        if !FileManager.default.fileExists(atPath: "/proc/\(owner)") {
            try? FileManager.default.removeItem(atPath: "/tmp/\(name)")
        }
    }
    return "/tmp/\(prefix)\(ProcessInfo.processInfo.processIdentifier)-\(UUID().uuidString.prefix(8))"
}

/// Lends a connection to the shared server.
func withConnection<Value>(
    _ change: (inout PostgresConfiguration) -> Void = { _ in },
    _ body: (PostgresConnection) async throws -> Value
) async throws -> Value {
    try await PostgresConnection.withConnection(try await testConfiguration(change)) { try await body($0) }
}

/// Lends a pool on the shared server.
func withPool<Value>(
    size: Int = 4,
    _ change: (inout PostgresPoolConfiguration) -> Void = { _ in },
    _ body: (PostgresPool) async throws -> Value
) async throws -> Value {
    var settings = PostgresPoolConfiguration(size: size, waitTimeout: .seconds(600))
    change(&settings)
    return try await PostgresPool.withPool(try await testConfiguration(), settings: settings) { try await body($0) }
}

/// How to reach the shared server, with generous deadlines.
func testConfiguration(_ change: (inout PostgresConfiguration) -> Void = { _ in }) async throws -> PostgresConfiguration
{
    let server = try await TestCluster.shared.server()
    var configuration = try PostgresConfiguration(
        connectionString: server.connectionString(), connectTimeout: .seconds(300), queryTimeout: .seconds(600))
    change(&configuration)
    return configuration
}
