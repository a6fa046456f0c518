public import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import Subprocess
import SystemPackage

/// The program as it was built with the tests.
public let builtProgram: String = {
    let tests = URL(filePath: Bundle.main.executablePath ?? CommandLine.arguments[0])
    return tests.deletingLastPathComponent().appending(path: "therapybridge").path(percentEncoded: false)
}()

/// A program that runs, to be ended by the test.
public struct RunningProgram: Sendable {
    private let execution: Execution<NoInput, DiscardedOutput, FileDescriptorOutput>

    fileprivate init(_ execution: Execution<NoInput, DiscardedOutput, FileDescriptorOutput>) {
        self.execution = execution
    }

    /// Asks it to stop, as an operator's service manager does.
    public func terminate() throws { try execution.send(signal: .terminate) }

    /// Ends it without a word, as a crash does.
    public func kill() throws { try execution.send(signal: .kill) }
}

/// Lends the running program; it is ended when `body` is done, if it still runs.
///
/// It logs at every level unless told otherwise, and its log is looked through afterwards.
public func withRunningProgram<Result: Sendable>(
    _ arguments: String..., environment: [String: String], canaries: CanaryWatch = .shared,
    _ body: @escaping @Sendable (RunningProgram) async throws -> Result
) async throws -> Result {
    let log = FileManager.default.temporaryDirectory.appending(path: "tb-log-\(UUID().uuidString.prefix(8))")
    defer { try? FileManager.default.removeItem(at: log) }
    let file = try FileDescriptor.open(
        FilePath(log.path(percentEncoded: false)), .writeOnly, options: .create, permissions: .ownerReadWrite)
    let result = try await Subprocess.run(
        .path(FilePath(builtProgram)), arguments: Arguments(arguments),
        environment: .custom(programEnvironment(["LOG_LEVEL": "trace"].merging(environment) { $1 })), input: .none,
        output: .discarded, error: .fileDescriptor(file, closeAfterSpawningProcess: true)
    ) { execution in
        defer { try? execution.send(signal: .kill) }
        return try await body(RunningProgram(execution))
    }.closureResult
    try canaries.inspect(String(contentsOf: log, encoding: .utf8), in: "the log of a program")
    return result
}

/// Lends a server that is a process of its own.
public func withServingProgram<Result: Sendable>(
    over database: TestDatabase, _ environment: [String: String] = [:], canaries: CanaryWatch = .shared,
    _ body: @escaping @Sendable (TestServer, RunningProgram) async throws -> Result
) async throws -> Result {
    let port = try await freePort()
    let uploads = FileManager.default.temporaryDirectory.appending(path: "tb-uploads-\(UUID().uuidString.prefix(8))")
    defer { try? FileManager.default.removeItem(at: uploads) }
    let settings = TestServer.settings(over: database, uploads: uploads).merging(["PORT": "\(port)"]) { $1 }
    return try await withRunningProgram(
        "serve", "--no-worker", environment: settings.merging(environment) { $1 }, canaries: canaries
    ) {
        program in
        let server = TestServer(database: database, port: port, uploads: uploads)
        try await eventually { (try? await server.request(.GET, "/health/ready").status) == 200 }
        return try await body(server, program)
    }
}

extension TestServer {
    /// The settings of a server or a worker that is a process of its own.
    public static func settings(over database: TestDatabase, uploads: URL) -> [String: String] {
        [
            "DATABASE_URL": database.url("therapybridge_server"), "JWT_SECRET": jwtSecret,
            "UPLOAD_DIR": uploads.path(percentEncoded: false), "SHUTDOWN_TIMEOUT": "5", "DATABASE_POOL_SIZE": "4",
        ]
    }
}

/// A port of loopback that was free a moment ago.
public func freePort() async throws -> Int {
    let channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
        .bind(host: "127.0.0.1", port: 0).get()
    guard let port = channel.localAddress?.port else { throw DidNotHappen() }
    try await channel.close().get()
    return port
}
