import FoundationEssentials
import Glibc
public import Logging
import Synchronization

/// A private PostgreSQL cluster that stops when this process ends.
///
/// One directory holds the files: `data`, `run` for the socket, and `server.log`. Clients use a Unix socket without a
/// password. Only root and the server's Unix user may enter the socket's directory. TCP on loopback needs a password,
/// and is off by default. A small supervisor reads a socket of this process. At end of file it stops the server. The
/// server therefore stops even if SIGKILL ends this process.
///
/// Concurrent calls on one value run one after the other.
public final class LocalPostgres: Sendable {
    /// How the server stops, as in `pg_ctl stop -m`.
    public enum StopMode: String, Sendable {
        /// Waits until all clients have disconnected.
        case smart
        /// Disconnects the clients, rolls back and writes a checkpoint.
        case fast
        /// Ends at once, as in a crash. The next start recovers from the log.
        case immediate
    }

    /// The directory of the cluster, with symbolic links resolved.
    public let directory: String

    /// The directory of the Unix socket: `host` in a connection string.
    public let socketDirectory: String

    /// The port, which is also a part of the socket's name.
    public let port: Int

    /// Whether the server also listens on `127.0.0.1`.
    public let listensOnLoopback: Bool

    /// The superuser's password.
    ///
    /// Only TCP needs it.
    public let superuserPassword: String

    /// The directory of the PostgreSQL programs, for tools such as `psql`.
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

    /// Starts the cluster of a directory.
    ///
    /// Makes the cluster first if the directory has none.
    ///
    /// - Parameters:
    ///   - directory: The directory of the cluster, made if it is missing. An existing cluster keeps its data.
    ///   - settings: Server settings for this run, by their names in `postgresql.conf`.
    ///   - fsync: False for more speed and less safety if the machine crashes, in tests.
    ///   - listensOnLoopback: True to also listen on a free port of `127.0.0.1`.
    ///   - logger: Receives a line when the server starts or stops.
    /// - Returns: The running server.
    /// - Throws: `LocalPostgresError` when PostgreSQL is missing, another server uses the directory, or the start
    ///   fails.
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

    /// Lends the running server, and stops it at the end.
    ///
    /// - Parameters:
    ///   - stopMode: How the server stops.
    ///   - isolation: The actor of the caller, on which `body` runs.
    ///   - body: Uses the server. The server also stops if it throws.
    /// - Returns: The value of `body`.
    /// - Throws: The error of `body`; `LocalPostgresError` when the server does not end.
    public func use<Result>(
        stopMode: StopMode = .fast, isolation: isolated (any Actor)? = #isolation,
        _ body: (LocalPostgres) async throws -> Result
    ) async throws -> Result {
        let result: Result
        do {
            result = try await body(self)
        } catch {
            try? await stop(mode: stopMode)
            throw error
        }
        try await stop(mode: stopMode)
        return result
    }

    /// Makes a libpq connection string for the Unix socket.
    ///
    /// - Parameters:
    ///   - database: The name of the database.
    ///   - user: The name of the role.
    /// - Returns: The connection string.
    public func connectionString(database: String = "postgres", user: String = "postgres") -> String {
        "host=\(quoted(socketDirectory)) port=\(port) dbname=\(quoted(database)) user=\(quoted(user))"
    }

    /// Starts the server again after `stop`.
    ///
    /// Does nothing if it runs.
    ///
    /// - Throws: `LocalPostgresError` when another server uses the directory, or this one does not become ready.
    public func start() async throws {
        try await turn.take { try await self.startServer() }
    }

    /// Stops the server and waits for its end.
    ///
    /// Does nothing if it is stopped.
    ///
    /// - Parameters:
    ///   - mode: How the server stops.
    ///   - timeout: The time before the server is stopped as in a crash.
    /// - Throws: `LocalPostgresError` when even that does not end the server.
    public func stop(mode: StopMode = .fast, timeout: Duration = .seconds(30)) async throws {
        try await turn.take { try await self.stopServer(mode: mode, timeout: timeout) }
    }

    /// Stops the server and starts it again on the same socket and port.
    ///
    /// - Parameter mode: How the server stops.
    /// - Throws: `LocalPostgresError` when the server does not end, or does not become ready again.
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

    /// Runs `pg_isready`, which connects as a client does, until it succeeds or the server ends.
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

    /// Quotes a value for a libpq connection string.
    private func quoted(_ value: String) -> String {
        let escaped = value.unicodeScalars.replacing("\\".unicodeScalars, with: "\\\\".unicodeScalars)
            .replacing("'".unicodeScalars, with: "\\'".unicodeScalars)
        return "'" + String(escaped) + "'"
    }
}

/// The environment of the server's programs.
///
/// It inherits nothing from this process.
func serverEnvironment() -> [String: String] {
    ["PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"]
}

/// Runs one caller's body at a time, in the order of arrival.
actor Turn {
    private var last: Task<Void, Never>?

    func take(_ body: @escaping @Sendable () async throws -> Void) async throws {
        let previous = last
        // An unstructured task: a start or a stop goes on to its end when its caller is cancelled.
        let task = Task {
            await previous?.value
            try await body()
        }
        last = Task { _ = await task.result }
        try await task.value
    }
}
