import Foundation
public import Subprocess
import SystemPackage

/// A program that has run to its end.
public struct ProgramRun: Sendable {
    /// The exit status; nil when a signal ended it.
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
/// What is planted is looked for in its standard error; addresses are not, since a command tells the operator which account
/// it means.
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
    // What the operator has typed may be said back.
    let said = arguments.reduce(outcome.standardError) { $1.isEmpty ? $0 : $0.replacing($1, with: "…") }
    try CanaryWatch.shared.inspect(said, in: "standard error", looks: false)
    return ProgramRun(
        status: status, output: outcome.standardOutput, errorOutput: outcome.standardError)
}

/// The environment of a test's program: where programs are, and what the test says.
///
/// What this process was started with must not decide a test.
public func programEnvironment(_ settings: [String: String]) -> [Environment.Key: String] {
    var environment: [Environment.Key: String] = ["PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"]
    // Where the libraries of Swift are found, when the program does not know by itself.
    for key in ["LD_LIBRARY_PATH", "TMPDIR"] {
        environment[Environment.Key(stringLiteral: key)] = ProcessInfo.processInfo.environment[key]
    }
    for (key, value) in settings { environment[Environment.Key(stringLiteral: key)] = value }
    return environment
}
