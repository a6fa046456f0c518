import Foundation
public import Subprocess
import SystemPackage

/// A program that has ended.
public struct ProgramRun: Sendable {
    /// The exit status; nil if a signal ended the program.
    public let status: Int?
    /// Standard output.
    public let output: String
    /// Standard error.
    public let errorOutput: String

    /// The lines of standard output.
    public var lines: [String] { output.split(separator: "\n").map(String.init) }
    /// The lines of standard error.
    public var errorLines: [String] { errorOutput.split(separator: "\n").map(String.init) }
}

/// Runs a program to its end, with these environment variables and no others.
///
/// Its standard error must not have planted canaries. E-mail addresses are allowed, because a command names the
/// account.
public func runProgram(
    _ path: String, _ arguments: [String], environment: [String: String] = [:], input: String = ""
) async throws -> ProgramRun {
    let outcome = try await within("the end of \(path)", limit: TestDeadline.test) {
        try await Subprocess.run(
            .path(FilePath(path)), arguments: Arguments(arguments),
            environment: .custom(programEnvironment(environment)), input: .string(input),
            output: .string(limit: 1 << 20), error: .string(limit: 1 << 20))
    }
    var status: Int?
    if case .exited(let code) = outcome.terminationStatus { status = Int(code) }
    CanaryWatch.shared.plant(input.trimmingCharacters(in: .newlines))
    // The program may repeat what the operator typed.
    let said = arguments.reduce(outcome.standardError) { $1.isEmpty ? $0 : $0.replacing($1, with: "…") }
    try CanaryWatch.shared.inspect(said, in: "standard error", looks: false)
    return ProgramRun(
        status: status, output: outcome.standardOutput, errorOutput: outcome.standardError)
}

/// The environment of a test's program: the search path and the test's settings.
///
/// The environment of this process must not decide a test.
///
/// - Parameter settings: The settings.
/// - Returns: The environment.
public func programEnvironment(_ settings: [String: String]) -> [Environment.Key: String] {
    var environment: [Environment.Key: String] = ["PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"]
    // The path of Swift's libraries, if the program does not know it.
    for key in ["LD_LIBRARY_PATH", "TMPDIR"] {
        environment[Environment.Key(stringLiteral: key)] = ProcessInfo.processInfo.environment[key]
    }
    for (key, value) in settings { environment[Environment.Key(stringLiteral: key)] = value }
    return environment
}
