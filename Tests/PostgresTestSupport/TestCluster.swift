import Foundation
public import LocalPostgres
import Migrations
import Postgres
import TestSupport

/// A PostgreSQL cluster of this test process: started when the first test needs it, gone with the process.
public actor TestCluster {
    /// The one cluster that tests share.
    ///
    /// Each test has a database of its own in it.
    public static let shared = TestCluster()

    private let listensOnLoopback: Bool
    private var start: Task<LocalPostgres, any Error>?
    private var template: Task<Void, any Error>?
    private var databases = 0

    /// The name of the database that tests' databases are copies of: migrated, and otherwise empty.
    private static let templateName = "template_app"

    /// The settings of every cluster.
    public static let settings = ["max_connections": "200"]

    /// The beginning of the names of clusters' folders; the number of the process follows.
    private static let prefix = "tb-test-"

    /// Removes the clusters of processes that are gone: a process cannot remove the one that runs until its own end.
    private static func removeLeftovers() {
        let folder = FileManager.default.temporaryDirectory
        for name in (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        where name.hasPrefix(prefix) {
            let process = name.dropFirst(prefix.count).prefix { $0 != "-" }
            guard !FileManager.default.fileExists(atPath: "/proc/\(process)") else { continue }
            try? FileManager.default.removeItem(at: folder.appending(path: name))
        }
    }

    /// The path of a fresh directory, in which a cluster may be made.
    ///
    /// It stays behind when the process ends; the next process removes it.
    public static func newDirectory() -> String {
        removeLeftovers()
        let process = ProcessInfo.processInfo.processIdentifier
        return FileManager.default.temporaryDirectory
            .appending(path: "\(prefix)\(process)-\(UUID().uuidString.prefix(8))").path(percentEncoded: false)
    }

    /// A cluster of a test's own, to be restarted or killed; on request it listens on a port of 127.0.0.1 besides its
    /// Unix socket.
    public static func makeCluster(listensOnLoopback: Bool = false) async throws -> LocalPostgres {
        try await LocalPostgres.start(
            directory: newDirectory(), settings: settings, fsync: false,
            listensOnLoopback: listensOnLoopback, logger: quietLogger)
    }

    /// A cluster that starts when it is first needed.
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

    /// The running cluster, which tests must not stop or restart.
    public func server() async throws -> LocalPostgres {
        if start == nil {
            // Not structured: it lives as long as the process, whichever test asked first.
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
