import Foundation
public import LocalPostgres
public import Logging
import Migrations
import Postgres

/// The PostgreSQL cluster of one test process: started when the first test needs it, gone with the process.
public actor TestCluster {
    /// The one cluster that tests share.
    ///
    /// Each test has a database of its own in it.
    public static let shared = TestCluster()

    private var start: Task<LocalPostgres, any Error>?
    private var template: Task<Void, any Error>?
    private var databases = 0

    /// The name of the database that tests' databases are copies of: migrated, and otherwise empty.
    private static let templateName = "template_app"

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

    /// A cluster of a test's own, to be restarted or killed.
    public static func makeCluster() async throws -> LocalPostgres {
        removeLeftovers()
        let process = ProcessInfo.processInfo.processIdentifier
        let directory = FileManager.default.temporaryDirectory
            .appending(path: "\(prefix)\(process)-\(UUID().uuidString.prefix(8))")
        return try await LocalPostgres.start(
            directory: directory.path(percentEncoded: false), settings: ["max_connections": "200"], fsync: false,
            logger: quietLogger)
    }

    /// Makes an empty database with the present schema.
    func makeDatabase() async throws -> (LocalPostgres, name: String) {
        let cluster = try await cluster()
        if template == nil { template = Task { try await Self.migrate(Self.templateName, of: cluster) } }
        try await template?.value
        databases += 1
        let name = "test_\(databases)"
        try await Self.execute("CREATE DATABASE \(name) TEMPLATE \(Self.templateName)", on: cluster)
        return (cluster, name)
    }

    /// Makes an empty database without any schema.
    func makeBareDatabase() async throws -> (LocalPostgres, name: String) {
        let cluster = try await cluster()
        databases += 1
        let name = "bare_\(databases)"
        try await Self.execute("CREATE DATABASE \(name)", on: cluster)
        return (cluster, name)
    }

    func drop(_ name: String) async throws {
        try await Self.execute("DROP DATABASE \(name) WITH (FORCE)", on: try await cluster())
    }

    private func cluster() async throws -> LocalPostgres {
        if start == nil { start = Task { try await Self.makeCluster() } }
        guard let start else { preconditionFailure("set above") }
        return try await start.value
    }

    /// Makes a database and migrates it.
    public static func migrate(_ name: String, of cluster: LocalPostgres) async throws {
        try await execute("CREATE DATABASE \(name)", on: cluster)
        let configuration = try PostgresConfiguration.patient(cluster.connectionString(database: name))
        _ = try await Migrator(configuration: configuration, logger: quietLogger).up()
    }

    private static func execute(_ sql: String, on cluster: LocalPostgres) async throws {
        try await PostgresConnection.withConnection(
            try PostgresConfiguration.patient(cluster.connectionString())
        ) { connection in
            try await connection.executeScript(sql)
        }
    }
}

/// A logger that says nothing: a test speaks by its expectations.
public let quietLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
