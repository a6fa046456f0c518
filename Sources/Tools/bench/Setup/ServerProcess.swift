import Foundation
import Subprocess
import SystemPackage

/// A running server program.
struct ServerProcess: Sendable {
    let processID: Int32
    /// The file of its outputs.
    let log: String

    /// Runs a server program, lends it and ends it.
    ///
    /// The program ends with `body`, also after an error: by SIGTERM, and by SIGKILL after 20 s. A terminal's Ctrl-C
    /// does not reach it.
    static func lend<Result: Sendable>(
        _ program: String, _ arguments: [String], environment: [String: String] = [:], log: String,
        _ body: (ServerProcess) async throws -> Result
    ) async throws -> Result {
        // The log is appended to, because a run starts a program several times.
        let output = try FileDescriptor.open(
            FilePath(log), .writeOnly, options: [.create, .append], permissions: .ownerReadWrite)
        defer { try? output.close() }
        var options = PlatformOptions()
        options.processGroupID = 0
        options.teardownSequence = Self.ending
        return try await Subprocess.run(
            .path(FilePath(program)), arguments: Arguments(arguments), environment: .custom(variables(environment)),
            platformOptions: options, input: .none,
            output: .fileDescriptor(output, closeAfterSpawningProcess: false),
            error: .fileDescriptor(output, closeAfterSpawningProcess: false)
        ) { execution in
            let child = ServerProcess(processID: execution.processIdentifier.value, log: log)
            do {
                let result = try await body(child)
                await execution.teardown(using: Self.ending)
                return result
            } catch {
                let isRunning = ProcessFigures.isRunning(child.processID)
                await execution.teardown(using: Self.ending)
                guard isRunning || error is CancellationError else {
                    throw BenchmarkError("\(error); \(program) ended early: \(endOfLog(child.log))")
                }
                throw error
            }
        }.closureResult
    }

    static let ending = [TeardownStep.gracefulShutDown(allowedDurationToNextStep: .seconds(20))]

    /// The environment of a child: the paths of programs, and the given settings.
    ///
    /// The environment of this process must not influence a figure.
    static func variables(_ settings: [String: String]) -> [Environment.Key: String] {
        var variables: [Environment.Key: String] = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"]
        // Lets a program find the libraries of Swift if it does not know their path.
        variables["LD_LIBRARY_PATH"] = ProcessInfo.processInfo.environment["LD_LIBRARY_PATH"]
        for (key, value) in settings { variables[Environment.Key(stringLiteral: key)] = value }
        return variables
    }

    /// Polls a condition until it holds.
    ///
    /// Throws if the program ends before.
    func wait(until condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while try await !condition() {
            guard ProcessFigures.isRunning(processID) else { throw BenchmarkError("the program did not start") }
            guard ContinuousClock.now < deadline else {
                throw BenchmarkError("the program is not ready: \(Self.endOfLog(log))")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// The last lines of a log.
    static func endOfLog(_ path: String) -> String {
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").suffix(3).joined(separator: " / ")
    }
}

/// Runs a program to its end.
///
/// - Returns: Its standard output.
/// - Throws: `BenchmarkError` with its standard error when it fails.
func runToEnd(_ program: String, _ arguments: [String], environment: [String: String] = [:]) async throws -> String {
    var options = PlatformOptions()
    options.processGroupID = 0
    options.teardownSequence = ServerProcess.ending
    let executable: Executable = program.contains("/") ? .path(FilePath(program)) : .name(program)
    let outcome = try await Subprocess.run(
        executable, arguments: Arguments(arguments), environment: .custom(ServerProcess.variables(environment)),
        platformOptions: options, output: .string(limit: 1 << 20), error: .string(limit: 1 << 20))
    try Task.checkCancellation()
    guard outcome.terminationStatus.isSuccess else {
        throw BenchmarkError("\(program) failed (\(outcome.terminationStatus)): \(outcome.standardError)")
    }
    return outcome.standardOutput
}
