public import Foundation
import Subprocess
import SystemPackage

/// The root of the package, with its documents and samples.
public let packageRoot = URL(filePath: #filePath).appending(path: "../../..").standardizedFileURL

/// A program that runs until the test ends it.
public struct RunningProgram: Sendable {
    private let execution: Execution<NoInput, DiscardedOutput, FileDescriptorOutput>

    fileprivate init(_ execution: Execution<NoInput, DiscardedOutput, FileDescriptorOutput>) {
        self.execution = execution
    }

    /// Sends SIGTERM, as an operator's service manager does.
    ///
    /// - Throws: An error of the system call.
    public func terminate() throws { try execution.send(signal: .terminate) }

    /// True once the program has ended, by whatever reason.
    public var hasEnded: Bool {
        let path = "/proc/\(execution.processIdentifier.value)/stat"
        guard let stat = try? String(contentsOfFile: path, encoding: .utf8) else { return true }
        // "The state of the process" follows its name in parentheses; Z: "Zombie" (proc(5)). Nobody has asked for its status yet.
        return stat.split(separator: ")").last?.hasPrefix(" Z") ?? true
    }

    /// Sends SIGKILL, which ends the program as a crash does.
    ///
    /// - Throws: An error of the system call.
    public func kill() throws { try execution.send(signal: .kill) }
}

/// Lends a running program, and ends it after `body` if it still runs.
///
/// By default it is the program that was built with the tests. The program logs at every level by default, and its log must not have canaries.
public func withRunningProgram<Result: Sendable>(
    _ arguments: String..., path: String = builtProgram, environment: [String: String], canaries: CanaryWatch = .shared,
    _ body: @escaping @Sendable (RunningProgram) async throws -> Result
) async throws -> Result {
    let log = FileManager.default.temporaryDirectory.appending(path: "tb-log-\(UUID().uuidString.prefix(8))")
    defer { try? FileManager.default.removeItem(at: log) }
    let file = try FileDescriptor.open(
        FilePath(log.path(percentEncoded: false)), .writeOnly, options: .create, permissions: .ownerReadWrite)
    let result = try await Subprocess.run(
        .path(FilePath(path)), arguments: Arguments(arguments),
        environment: .custom(programEnvironment(["LOG_LEVEL": "trace"].merging(environment) { $1 })), input: .none,
        output: .discarded, error: .fileDescriptor(file, closeAfterSpawningProcess: true)
    ) { execution in
        defer { try? execution.send(signal: .kill) }
        return try await body(RunningProgram(execution))
    }.closureResult
    try canaries.inspect(String(contentsOf: log, encoding: .utf8), in: "the log of a program")
    return result
}
