import Foundation
import Glibc
public import LocalPostgres
import Postgres
import TestSupport

/// The program of Debian's package `pgbouncer`.
private let pooler = "/usr/sbin/pgbouncer"

/// True if PgBouncer is installed.
public let hasPooler = FileManager.default.isExecutableFile(atPath: pooler)

/// Runs a PgBouncer in transaction mode with two connections to a server, and lends its port on 127.0.0.1.
///
/// It lets any user in, and connects as the superuser or as the role of `user`.
///
/// - Parameters:
///   - server: The server, which listens on loopback.
///   - database: The database, whose name in the pooler is the same.
///   - user: The role of the connections to the server, with `password`; nil for the superuser.
///   - password: The password of the role.
///   - ignored: The parameters of a start that the pooler passes over; it refuses all others that it does not know.
///   - body: The test.
/// - Throws: What the body throws; `DidNotHappen` if the pooler does not answer.
public func withPooler(
    of server: LocalPostgres, database: String = "postgres", user: String? = nil, password: String? = nil,
    ignoring ignored: String = "extra_float_digits", _ body: (Int) async throws -> Void
) async throws {
    let port = try freePort()
    let directory = "/tmp/tb-pgtest-\(ProcessInfo.processInfo.processIdentifier)-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(
        atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let settings = """
        [databases]
        \(database) = host=127.0.0.1 port=\(server.port) user=\(user ?? "postgres") \
        password=\(password ?? server.superuserPassword)
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = \(port)
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = 2
        ignore_startup_parameters = \(ignored)
        """
    try Data(settings.utf8).write(to: URL(fileURLWithPath: "\(directory)/pgbouncer.ini"))
    let process = Process()
    let lifeline = Pipe()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    // It ends when the other end of its standard input closes, and thus with this process in any case. SIGTERM
    // would not do: a child inherits the signal mask of the thread that starts it, and the mask may block the
    // signal.
    process.arguments = ["-c", #""$@" </dev/null & cat >/dev/null; kill -KILL $!"#, "lifeline", pooler, "--quiet"]
    process.arguments?.append("\(directory)/pgbouncer.ini")
    // PgBouncer refuses to run as root, like PostgreSQL.
    if geteuid() == 0 { process.arguments? += ["--user", "nobody"] }
    process.standardInput = lifeline
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    defer {
        try? lifeline.fileHandleForWriting.close()
        process.waitUntilExit()
    }
    let probe = try PostgresConfiguration(
        connectionString: "host=127.0.0.1 port=\(port) user=any dbname=\(database)", pooler: .transaction,
        connectTimeout: TestDeadline.event, queryTimeout: TestDeadline.event)
    try await eventually("pgbouncer answers") {
        (try? await PostgresConnection.withConnection(probe) { _ in }) != nil
    }
    try await body(port)
}
