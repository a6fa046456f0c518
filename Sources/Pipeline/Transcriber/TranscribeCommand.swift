import Foundation
import Glibc
import UnixSignals

/// The body of `therapybridge transcribe FILE`: the bundled transcriber as a stage
/// (docs/pipeline.md, "The bundled transcriber").
///
/// It prints nothing by itself; the subcommand lends it its outputs.
public struct TranscribeCommand: Sendable {
    /// Does the work.
    public var transcriber = Transcriber()
    /// Whether the process steps back behind the server on the same machine.
    ///
    /// Default: true.
    public var isNice = true

    /// The command with the defaults.
    public init() {}

    /// Transcribes a file, prints progress and result as JSON lines, and ends in order on SIGTERM and SIGINT.
    ///
    /// - Parameters:
    ///   - file: the recording's path.
    ///   - output: writes one line, without its newline, to standard output; an error it throws ends the work, as when the reader
    ///     of the pipe is gone.
    ///   - errorOutput: writes one line to standard error; the last one is what a therapist reads.
    /// - Returns: the exit status: 0, or 1 after a line on standard error.
    public func run(
        file: String,
        output: @escaping @Sendable (String) throws -> Void,
        errorOutput: @escaping @Sendable (String) -> Void
    ) async -> Int32 {
        // A recogniser that dies, or a server that is gone, must be an error to handle and not the end of this process, which
        // would leave its temporary files behind.
        signal(SIGPIPE, SIG_IGN)
        if isNice { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10) }
        return await withSignalsAsCancellation {
            await transcribe(file: file, output: output, errorOutput: errorOutput)
        }
    }

    /// The work without what it does to the process: signals and priority.
    func transcribe(
        file: String,
        output: @escaping @Sendable (String) throws -> Void,
        errorOutput: @Sendable (String) -> Void
    ) async -> Int32 {
        do {
            let transcript = try await transcriber.transcribe(file: file) { progress in
                try output(Self.line(Progress(progress)))
            }
            try output(Self.line(Result(result: transcript)))
            return 0
        } catch {
            let (message, detail) = Self.explanation(of: error)
            // The detail goes before: the last line is what a therapist reads.
            if let detail { errorOutput(detail) }
            errorOutput(message)
            return 1
        }
    }

    private static func explanation(of error: any Error) -> (message: String, detail: String?) {
        switch error {
        case let error as TranscriberError: (error.description, error.detail)
        case is CancellationError: ("The transcription was stopped.", nil)
        default: ("The transcription could not be finished.", "\(error)")
        }
    }

    private static func line(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes, .sortedKeys]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    private struct Progress: Encodable {
        var progress: Int
        var message: String?
        var estimated_time_remaining: Int?

        init(_ progress: StageProgress) {
            self.progress = progress.progress
            message = progress.message
            estimated_time_remaining = progress.estimatedTimeRemaining
        }
    }

    private struct Result: Encodable {
        var result: Transcript
    }
}

/// Runs work that SIGTERM and SIGINT cancel; what it returns then is still what it makes of the cancellation.
private func withSignalsAsCancellation<T: Sendable>(_ work: @escaping @Sendable () async -> T) async -> T {
    let signals = await UnixSignalsSequence(trapping: [.sigterm, .sigint])
    return await withTaskGroup(of: T?.self) { group in
        group.addTask { await work() }
        group.addTask {
            for await _ in signals { break }
            return nil
        }
        // Either the work is done and the signals are waited for no more, or a signal came and the work has to end.
        var result = await group.next() ?? nil
        group.cancelAll()
        for await ended in group { result = ended ?? result }
        guard let result else { preconditionFailure("the work always returns") }
        return result
    }
}
