import Foundation
import Subprocess
import SystemPackage

/// A program that runs beside this one.
struct ChildProcess: Sendable {
    let processID: Int32
    /// Where its outputs go.
    let log: String

    /// Runs a server program, lends it and ends it.
    ///
    /// It ends with `body`, however that ends: by SIGTERM, and by SIGKILL when it takes longer than 20 s. Ctrl-C of a
    /// terminal does not reach it, so that the end comes from here.
    static func lend<Result: Sendable>(
        _ program: String, _ arguments: [String], environment: [String: String] = [:], log: String,
        _ body: (ChildProcess) async throws -> Result
    ) async throws -> Result {
        // Appended: a program is started several times in one run.
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
            let child = ChildProcess(processID: execution.processIdentifier.value, log: log)
            do {
                let result = try await body(child)
                await execution.teardown(using: Self.ending)
                return result
            } catch {
                let isRunning = ProcessFigures.isRunning(child.processID)
                await execution.teardown(using: Self.ending)
                guard isRunning || error is CancellationError else {
                    throw BenchmarkError("\(error); \(program) had ended: \(endOfLog(child.log))")
                }
                throw error
            }
        }.closureResult
    }

    static let ending = [TeardownStep.gracefulShutDown(allowedDurationToNextStep: .seconds(20))]

    /// The environment of a child: where programs are, and what the caller says.
    ///
    /// What this process was started with must not decide a figure.
    static func variables(_ settings: [String: String]) -> [Environment.Key: String] {
        var variables: [Environment.Key: String] = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"]
        // Where the libraries of Swift are found, when the program does not know by itself.
        variables["LD_LIBRARY_PATH"] = ProcessInfo.processInfo.environment["LD_LIBRARY_PATH"]
        for (key, value) in settings { variables[Environment.Key(stringLiteral: key)] = value }
        return variables
    }

    /// Waits until a condition holds that sends no signal; a program that ends meanwhile is an error.
    func wait(until condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while try await !condition() {
            guard ProcessFigures.isRunning(processID) else { throw BenchmarkError("it did not start") }
            guard ContinuousClock.now < deadline else { throw BenchmarkError("it is not ready: \(Self.endOfLog(log))") }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// The last lines of what a program wrote.
    static func endOfLog(_ path: String) -> String {
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").suffix(3).joined(separator: " / ")
    }
}

/// Runs a program to its end and returns what it wrote on standard output.
///
/// - Throws: When it fails, with what it wrote on standard error.
func runToEnd(_ program: String, _ arguments: [String], environment: [String: String] = [:]) async throws -> String {
    var options = PlatformOptions()
    options.processGroupID = 0
    options.teardownSequence = ChildProcess.ending
    let executable: Executable = program.contains("/") ? .path(FilePath(program)) : .name(program)
    let outcome = try await Subprocess.run(
        executable, arguments: Arguments(arguments), environment: .custom(ChildProcess.variables(environment)),
        platformOptions: options, output: .string(limit: 1 << 20), error: .string(limit: 1 << 20))
    try Task.checkCancellation()
    guard outcome.terminationStatus.isSuccess else {
        throw BenchmarkError("\(program) failed (\(outcome.terminationStatus)): \(outcome.standardError)")
    }
    return outcome.standardOutput
}
