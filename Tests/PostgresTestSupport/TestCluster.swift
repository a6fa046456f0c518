import Foundation
public import LocalPostgres
import Migrations
import Postgres
import TestSupport

/// The PostgreSQL cluster of this test process.
///
/// The first test that needs it starts it, and it ends with the process.
public actor TestCluster {
    /// The cluster that all tests share.
    ///
    /// Each test has a database of its own in it.
    public static let shared = TestCluster()

    private let listensOnLoopback: Bool
    private var start: Task<LocalPostgres, any Error>?
    private var template: Task<Void, any Error>?
    private var databases = 0

    /// The name of the template of the tests' databases, which is migrated and otherwise empty.
    private static let templateName = "template_app"

    /// The settings of every cluster.
    ///
    /// The databases of all tests share one cluster, and with it the roles.
    public static let settings = ["max_connections": "200", "therapybridge.shared_cluster": "on"]

    /// The prefix of the clusters' folders.
    ///
    /// The number of the process follows.
    private static let prefix = "tb-test-"

    /// Removes the clusters of ended processes.
    ///
    /// A process cannot remove its own running cluster.
    private static func removeLeftovers() {
        let folder = FileManager.default.temporaryDirectory
        for name in (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        where name.hasPrefix(prefix) {
            let process = name.dropFirst(prefix.count).prefix { $0 != "-" }
            guard !FileManager.default.fileExists(atPath: "/proc/\(process)") else { continue }
            try? FileManager.default.removeItem(at: folder.appending(path: name))
        }
    }

    /// Makes the path of a new directory for a cluster.
    ///
    /// The directory stays when the process ends, and the next process removes it.
    public static func newDirectory() -> String {
        removeLeftovers()
        let process = ProcessInfo.processInfo.processIdentifier
        return FileManager.default.temporaryDirectory
            .appending(path: "\(prefix)\(process)-\(UUID().uuidString.prefix(8))").path(percentEncoded: false)
    }

    /// Makes a cluster of a test's own, which the test may restart or kill.
    ///
    /// - Parameter listensOnLoopback: Whether it listens on a port of 127.0.0.1 beside its Unix socket.
    /// - Returns: The cluster.
    /// - Throws: An error of the programs of PostgreSQL.
    public static func makeCluster(listensOnLoopback: Bool = false) async throws -> LocalPostgres {
        try await LocalPostgres.start(
            directory: newDirectory(), settings: settings, fsync: false,
            listensOnLoopback: listensOnLoopback, logger: quietLogger)
    }

    /// Makes a cluster that starts when it is first needed.
    ///
    /// - Parameter listensOnLoopback: Whether it listens on a port of 127.0.0.1 beside its Unix socket.
    public init(listensOnLoopback: Bool = false) { self.listensOnLoopback = listensOnLoopback }

    /// Makes an empty database with the present schema.
    func makeDatabase() async throws -> (LocalPostgres, name: String) {
        let cluster = try await server()
        if template == nil { template = Task { try await Self.migrate(Self.templateName, of: cluster) } }
        try await template?.value
        databases += 1
        let name = "test_\(databases)"
        try await Self.execute("CREATE DATABASE \(name) TEMPLATE \(Self.templateName)", on: cluster)
        return (cluster, name)
    }

    /// Makes an empty database without any schema.
    func makeBareDatabase() async throws -> (LocalPostgres, name: String) {
        let cluster = try await server()
        databases += 1
        let name = "bare_\(databases)"
        try await Self.execute("CREATE DATABASE \(name)", on: cluster)
        return (cluster, name)
    }

    func drop(_ name: String) async throws {
        try await Self.execute("DROP DATABASE \(name) WITH (FORCE)", on: try await server())
    }

    /// The running cluster.
    ///
    /// Tests must not stop or restart it.
    public func server() async throws -> LocalPostgres {
        if start == nil {
            // Not structured: it lives as long as the process, not as long as the first test.
            start = Task { [listensOnLoopback] in try await Self.makeCluster(listensOnLoopback: listensOnLoopback) }
        }
        guard let start else { preconditionFailure("set above") }
        return try await start.value
    }

    /// Makes a database and migrates it.
    public static func migrate(_ name: String, of cluster: LocalPostgres) async throws {
        try await execute("CREATE DATABASE \(name)", on: cluster)
        let configuration = try PostgresConfiguration.forTests(cluster.connectionString(database: name))
        _ = try await Migrator(configuration: configuration, logger: quietLogger).up()
    }

    private static func execute(_ sql: String, on cluster: LocalPostgres) async throws {
        try await PostgresConnection.withConnection(
            try PostgresConfiguration.forTests(cluster.connectionString())
        ) { connection in
            try await connection.executeScript(sql)
        }
    }
}
