import Foundation
import Glibc
public import Logging
import Synchronization

/// A private PostgreSQL cluster that lives and dies with this process.
///
/// The cluster's files are kept in one directory (`data`, `run` for the socket, `server.log`). It is reached over a
/// Unix socket in a directory that only the server's account and root may enter, so that no password is needed there;
/// TCP on loopback, with a password, is there only when asked for. When this process ends, even by SIGKILL, the server
/// stops too: a small supervisor reads a socket of this process and stops the server at end of file.
///
/// Several calls at once on one value run one after the other.
public final class LocalPostgres: Sendable {
    /// How the server is told to stop, as in `pg_ctl stop -m`.
    public enum StopMode: String, Sendable {
        /// Waits until every client has gone.
        case smart
        /// Ends the sessions of clients, rolls back and writes a checkpoint.
        case fast
        /// Ends at once, like a crash; the next start recovers from the log.
        case immediate
    }

    /// The directory that was given at the start, with symbolic links resolved.
    public let directory: String

    /// The directory of the Unix socket: the `host` of a connection string.
    public let socketDirectory: String

    /// The port, which is also part of the socket's name.
    public let port: Int

    /// Whether the server also listens on `127.0.0.1`.
    public let listensOnLoopback: Bool

    /// The superuser's password, needed over TCP alone.
    public let superuserPassword: String

    /// The directory of the PostgreSQL programs in use, for tools such as `psql`.
    public let programDirectory: String

    private let layout: ClusterLayout
    private let commandLine: [String]
    private let logger: Logger
    private let supervisor = Mutex<ChildProcess?>(nil)
    private let turn = Turn()

    private init(cluster: PreparedCluster, logger: Logger) {
        self.directory = cluster.layout.directory
        self.socketDirectory = cluster.layout.socketDirectory
        self.port = cluster.port
        self.listensOnLoopback = cluster.listensOnLoopback
        self.superuserPassword = cluster.password
        self.programDirectory = cluster.installation.programs
        self.layout = cluster.layout
        self.commandLine = cluster.commandLine
        self.logger = logger
    }

    /// Starts the cluster in a directory, making it first when the directory has none.
    ///
    /// - Parameters:
    ///   - directory: where the cluster is kept; made when missing. A cluster found there keeps its data.
    ///   - settings: server settings (`postgresql.conf` names) for this run.
    ///   - fsync: false trades safety against a crash of the machine for speed; for tests.
    ///   - listensOnLoopback: also listen on a free port of `127.0.0.1`.
    ///   - logger: told when the server starts and stops.
    /// - Returns: the running server.
    /// - Throws: `LocalPostgresError` when PostgreSQL is missing, another server has the directory, or the start fails.
    public static func start(
        directory: String,
        settings: [String: String] = [:],
        fsync: Bool = true,
        listensOnLoopback: Bool = false,
        logger: Logger = Logger(label: "local-postgres")
    ) async throws -> LocalPostgres {
        let cluster = try await PreparedCluster.prepare(
            directory: directory, settings: settings, fsync: fsync, listensOnLoopback: listensOnLoopback)
        let server = LocalPostgres(cluster: cluster, logger: logger)
        try await server.start()
        return server
    }

    /// A libpq connection string over the Unix socket.
    public func connectionString(database: String = "postgres", user: String = "postgres") -> String {
        "host=\(quoted(socketDirectory)) port=\(port) dbname=\(quoted(database)) user=\(quoted(user))"
    }

    /// A libpq connection string over TCP on loopback.
    ///
    /// - Precondition: the cluster was started with `listensOnLoopback`.
    /// - Parameters:
    ///   - database: the database's name.
    ///   - user: the role's name.
    ///   - password: the role's password; nil means the superuser's.
    /// - Returns: the connection string, with the password in it.
    public func loopbackConnectionString(
        database: String = "postgres",
        user: String = "postgres",
        password: String? = nil
    ) -> String {
        precondition(listensOnLoopback, "start with listensOnLoopback: true")
        return "host=127.0.0.1 port=\(port) dbname=\(quoted(database)) user=\(quoted(user))"
            + " password=\(quoted(password ?? superuserPassword))"
    }

    /// Starts the server again after `stop`.
    ///
    /// - Throws: `LocalPostgresError` when it runs already or does not become ready.
    public func start() async throws {
        try await turn.take { try await self.startServer() }
    }

    /// Stops the server and waits until it is gone; a server that is stopped already is no error.
    ///
    /// - Parameters:
    ///   - mode: how; see `StopMode`.
    ///   - timeout: how long to wait before the server is stopped like in a crash.
    /// - Throws: `LocalPostgresError` when it does not end even then.
    public func stop(mode: StopMode = .fast, timeout: Duration = .seconds(30)) async throws {
        try await turn.take { try await self.stopServer(mode: mode, timeout: timeout) }
    }

    /// Stops the server and starts it again on the same socket and port.
    ///
    /// - Parameter mode: how it is stopped.
    /// - Throws: `LocalPostgresError` when it does not end, or does not become ready again.
    public func restart(mode: StopMode = .fast) async throws {
        try await turn.take {
            try await self.stopServer(mode: mode, timeout: .seconds(30))
            try await self.startServer()
        }
    }

    private func startServer() async throws {
        guard supervisor.withLock({ $0 == nil }) else { return }
        try await layout.waitForPreviousServer()
        let child = try ChildProcess.start(
            commandLine, environment: serverEnvironment(), outputPath: layout.logFile, holdsInput: true)
        do {
            try await waitUntilReady(child)
        } catch {
            child.tell(StopMode.immediate.rawValue)
            _ = await child.waitForExit(timeout: .seconds(10))
            throw error
        }
        supervisor.withLock { $0 = child }
        logger.debug("PostgreSQL is ready", metadata: ["directory": "\(directory)", "port": "\(port)"])
    }

    private func stopServer(mode: StopMode, timeout: Duration) async throws {
        guard let child = supervisor.withLock({ $0 }) else { return }
        child.tell(mode.rawValue)
        if await child.waitForExit(timeout: timeout) == nil {
            logger.warning("PostgreSQL does not stop; ending it as in a crash")
            child.tell(StopMode.immediate.rawValue)
            guard await child.waitForExit(timeout: .seconds(10)) != nil else {
                throw LocalPostgresError(.stop, "the PostgreSQL server in \(directory) does not stop")
            }
        }
        supervisor.withLock { $0 = nil }
        logger.debug("PostgreSQL has stopped", metadata: ["directory": "\(directory)", "mode": "\(mode)"])
    }

    /// Asks `pg_isready`, which connects as a client does, until it says yes or the server has ended.
    private func waitUntilReady(_ child: ChildProcess) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        let probe = [
            "\(programDirectory)/pg_isready", "--quiet", "--host", socketDirectory, "--port", "\(port)",
            "--timeout", "2",
        ]
        while true {
            if child.exitStatus != nil {
                throw LocalPostgresError(.start, "PostgreSQL did not start:\n\(layout.endOfLog())")
            }
            let check = try ChildProcess.start(
                probe, environment: serverEnvironment(), outputPath: "/dev/null", holdsInput: false)
            if await check.waitForExit(timeout: .seconds(5)) == 0 { return }
            guard ContinuousClock.now < deadline else {
                throw LocalPostgresError(.start, "PostgreSQL is not ready after 60 s:\n\(layout.endOfLog())")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// A value in single quotes, as a libpq connection string wants it.
    private func quoted(_ value: String) -> String {
        "'" + value.replacing("\\", with: "\\\\").replacing("'", with: "\\'") + "'"
    }
}

/// The environment of the server's programs: nothing of ours that could change what they do.
func serverEnvironment() -> [String: String] {
    ["PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"]
}

/// Lets one caller at a time through, in the order of arrival.
actor Turn {
    private var last: Task<Void, Never>?

    func take(_ body: @escaping @Sendable () async throws -> Void) async throws {
        let previous = last
        // Not structured: a start or a stop that has begun is finished even when its caller is cancelled.
        let task = Task {
            await previous?.value
            try await body()
        }
        last = Task { _ = await task.result }
        try await task.value
    }
}
