import Foundation
import PostgresTestSupport
import Subprocess
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// The built program, run as operators run it.
struct Program {
    /// The settings.
    ///
    /// The program inherits nothing else from this process.
    var environment: [String: String] = [:]

    /// Runs a command to its end.
    func run(_ arguments: String..., input: String = "") async throws -> ProgramRun {
        try await runProgram(builtProgram, arguments, environment: environment, input: input)
    }

    /// Runs a command that must succeed, and returns its lines of standard output.
    func lines(_ arguments: String..., input: String = "") async throws -> [String] {
        let run = try await runProgram(builtProgram, arguments, environment: environment, input: input)
        try #require(run.status == 0, "\(arguments): \(run.errorOutput)")
        return run.lines
    }

    static let secret = "a secret of tests, and of tests alone"

    /// A program with all the settings that `serve` needs for a database.
    static func serving(_ database: TestDatabase, _ settings: [String: String] = [:]) -> Program {
        Program(
            environment: [
                "DATABASE_URL": database.url("therapybridge_server"), "DATABASE_MIGRATE_URL": database.url(),
                "JWT_SECRET": secret, "PORT": "0", "LOG_LEVEL": "trace", "LOG_FORMAT": "json",
            ].merging(settings) { _, new in new })
    }
}

/// A running `serve`.
struct RunningServer: Sendable {
    var port: Int
    var processID: Int32
    /// What the program has logged so far.
    var log = LogSoFar()

    var baseURL: String { "http://127.0.0.1:\(port)" }

    func terminate() { kill(processID, SIGTERM) }
}

/// The log of a program that runs.
final class LogSoFar: Sendable {
    private let lines = Mutex("")

    /// All whole lines.
    var text: String { lines.withLock { $0 } }

    func add(_ line: String) { lines.withLock { $0 += line + "\n" } }
}

/// The end of a `serve`.
struct ServerEnd: Sendable {
    /// The exit status, or nil if a signal ended the program.
    var status: Int?
    var output: String
    var log: String
}

extension Program {
    /// Runs `serve`, lends it once it accepts connections, and waits for its end.
    ///
    /// `body` sends SIGTERM. If it throws, the program gets SIGKILL.
    ///
    /// - Parameters:
    ///   - arguments: Further arguments of the command.
    ///   - descriptors: How many descriptors the program may have; nil for as many as this process.
    ///   - body: The test.
    /// - Returns: What the body returns, and how the program ended.
    /// - Throws: What the body throws; `DidNotHappen` when the program does not start or end in time.
    func serve<Result: Sendable>(
        _ arguments: [String] = [], descriptors: Int? = nil,
        _ body: @escaping @Sendable (RunningServer) async throws -> Result
    ) async throws -> (Result, ServerEnd) {
        let uploads = FileManager.default.temporaryDirectory.appending(path: "tb-serve-\(UUID().uuidString.prefix(8))")
        defer { try? FileManager.default.removeItem(at: uploads) }
        let settings = ["UPLOAD_DIR": uploads.path(percentEncoded: false)].merging(environment) { _, new in new }
        var command = [builtProgram, "serve"] + arguments
        if let descriptors { command = ["/bin/sh", "-c", "ulimit -n \(descriptors); exec \"$0\" \"$@\""] + command }
        let outcome = try await Subprocess.run(
            .path(FilePath(command[0])), arguments: Arguments(Array(command.dropFirst())),
            environment: .custom(programEnvironment(settings)), input: .none, output: .sequence, error: .sequence
        ) { execution in
            let processID = execution.processIdentifier.value
            return try await Self.attend(
                processID, output: execution.standardOutput, log: execution.standardError, body)
        }
        var status: Int?
        if case .exited(let code) = outcome.terminationStatus { status = Int(code) }
        let (result, output, text) = outcome.closureResult
        try CanaryWatch.shared.inspect(text, in: "the log of a program")
        return (result, ServerEnd(status: status, output: output, log: text))
    }

    /// Reads both outputs to their ends, and runs `body` as soon as the log names the port.
    private static func attend<Result: Sendable>(
        _ processID: Int32, output: SubprocessOutputSequence, log: SubprocessOutputSequence,
        _ body: @escaping @Sendable (RunningServer) async throws -> Result
    ) async throws -> (Result, output: String, log: String) {
        let (ports, continuation) = AsyncStream.makeStream(of: Int.self)
        let lines = LogSoFar()
        async let printed = text(of: output)
        async let logged = follow(log, into: lines, ports: continuation)
        do {
            guard let port = await ports.first(where: { _ in true }) else {
                throw DidNotServe(log: try await logged)
            }
            let result = try await body(RunningServer(port: port, processID: processID, log: lines))
            return (result, try await printed, try await logged)
        } catch {
            kill(processID, SIGKILL)
            throw error
        }
    }

    private static func text(of output: SubprocessOutputSequence) async throws -> String {
        var text = ""
        for try await line in output.strings() { text += line + "\n" }
        return text
    }

    /// Reads the log, and finds the line with the port.
    private static func follow(
        _ log: SubprocessOutputSequence, into lines: LogSoFar, ports: AsyncStream<Int>.Continuation
    ) async throws -> String {
        defer { ports.finish() }
        for try await line in log.strings() {
            lines.add(line)
            if let match = line.firstMatch(of: /listening on [^ "]*:(\d+)/), let port = Int(match.1) {
                ports.yield(port)
            }
        }
        return lines.text
    }
}

/// The program ended before it served.
///
/// Its log has the reason.
struct DidNotServe: Error {
    let log: String
}
