import Subprocess

/// A program that the transcriber runs on a recording, and its arguments.
///
/// The arguments belong to the code that knows the program. This type only starts it, in an environment without the
/// server's secrets. A stage runs in a cage, and its programs with it: they share its budget.
struct ToolCommand: Sendable, Equatable {
    /// The program: a path, or a name to look up in `PATH`.
    var program: String
    var arguments: [String]
    /// The memory that the program may write to, in bytes, or nil for the limit of this process.
    ///
    /// Libraries do not count. Source: setrlimit(2), RLIMIT_DATA: "This limit affects calls to brk(2), sbrk(2), and (since
    /// Linux 4.7) mmap(2)".
    var memory: Int?

    /// How a program ended, and the end of what it wrote to standard error.
    struct Ending: Sendable {
        var status: TerminationStatus
        var errorTail: OutputTail

        /// A text for the operator.
        var description: String { "\(status); \(errorTail.text())" }
    }

    /// The output of a program is longer than its reader allows.
    struct OutputTooLong: Error {}

    /// Runs the program, and hands its standard output on as it comes.
    ///
    /// The program waits while `consume` runs. Memory therefore holds no more output than one pipe does.
    ///
    /// - Parameter consume: Receives the output in pieces of any length.
    /// - Returns: The ending.
    /// - Throws: `SubprocessError` when the program cannot be started; the error of `consume`.
    func stream(to consume: ([UInt8]) async throws -> Void) async throws -> Ending {
        var (program, arguments) = (program, arguments)
        if let memory {
            // A process of a cage may set its own limits and no others. The shell sets them, and becomes the program.
            arguments = ["-c", #"ulimit -d "$0"; exec "$@""#, "\(memory / 1_024)", program] + arguments
            program = "/bin/sh"
        }
        let outcome = try await run(
            .program(program), arguments: Arguments(arguments), environment: .scrubbed(), input: .none,
            output: .sequence, error: .sequence
        ) { execution in
            async let tail = OutputTail(of: execution.standardError)
            for try await buffer in execution.standardOutput {
                try await consume(buffer.withUnsafeBytes { Array($0) })
            }
            return await tail
        }
        try Task.checkCancellation()
        return Ending(status: outcome.terminationStatus, errorTail: outcome.closureResult)
    }

    /// Runs the program, and returns its standard output as text.
    ///
    /// - Parameter limit: The greatest length of the output in bytes.
    /// - Returns: The output and the ending.
    /// - Throws: `SubprocessError` when the program cannot be started; ``OutputTooLong``.
    func output(limit: Int) async throws -> (text: String, ending: Ending) {
        var bytes: [UInt8] = []
        let ending = try await stream { piece in
            guard bytes.count + piece.count <= limit else { throw OutputTooLong() }
            bytes += piece
        }
        return (String(decoding: bytes, as: UTF8.self), ending)
    }
}
