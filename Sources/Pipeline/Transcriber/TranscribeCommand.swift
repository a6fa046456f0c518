import FoundationEssentials
import Glibc
import UnixSignals

/// The body of `therapybridge transcribe FILE`: the bundled transcriber as a stage (docs/pipeline.md, "The bundled
/// transcriber").
///
/// It prints nothing itself. The subcommand passes in the outputs.
public struct TranscribeCommand: Sendable {
    /// The transcriber that does the work.
    public var transcriber = Transcriber()
    /// Whether the process lowers its priority below the server's.
    ///
    /// Default: true.
    public var isNice = true

    /// Makes a command with the defaults.
    public init() {}

    /// Makes a command with what the worker knows about the recording.
    ///
    /// - Parameter environment: The environment of the stage: `TB_DURATION_SECONDS`, the length that was measured, and
    ///   `TB_MAX_DURATION_SECONDS`, the longest recording.
    public init(environment: [String: String]) {
        transcriber.measured = environment["TB_DURATION_SECONDS"].flatMap { Double($0) }
        if let longest = environment["TB_MAX_DURATION_SECONDS"].flatMap({ Double($0) }) {
            transcriber.longest = longest
        }
    }

    /// Transcribes a file, and prints progress, segments and result as JSON lines.
    ///
    /// SIGTERM and SIGINT end it in order.
    ///
    /// - Parameters:
    ///   - file: The path of the recording.
    ///   - output: Writes one line, without its newline, to standard output. An error ends the work, for example when
    ///     the reader of the pipe is gone.
    ///   - errorOutput: Writes one line to standard error.
    /// - Returns: The exit status: 0; 75 when a program or the model is missing; else 1. Before the last two, it prints
    ///   `{"error": …}`, which therapists see, and the same words on standard error.
    public func run(
        file: String,
        output: @escaping @Sendable (String) throws -> Void,
        errorOutput: @escaping @Sendable (String) -> Void
    ) async -> Int32 {
        // When the recogniser or the server ends, a write must fail with an error. SIGPIPE would end this process and
        // leave its temporary files behind.
        signal(SIGPIPE, SIG_IGN)
        if isNice { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10) }
        return await withSignalsAsCancellation {
            await transcribe(file: file, output: output, errorOutput: errorOutput)
        }
    }

    /// Does the work, without changing the signals and the priority of the process.
    func transcribe(
        file: String,
        output: @escaping @Sendable (String) throws -> Void,
        errorOutput: @Sendable (String) -> Void
    ) async -> Int32 {
        do {
            let transcript = try await transcriber.transcribe(
                file: file, onProgress: { try output(Self.line(Progress($0))) },
                onSegment: { try output(Self.line(Segment(segment: $0))) })
            try output(Self.line(Result(result: transcript)))
            return 0
        } catch {
            let (message, detail) = Self.explanation(of: error)
            if let detail { errorOutput(detail) }
            errorOutput(message)
            // An output that cannot be written may be the cause.
            try? output(Self.line(Reason(error: message)))
            switch error as? TranscriberError {
            case .notInstalled, .noStandardInput: return Int32(StageFailure.unavailableStatus)
            default: break
            }
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

    private struct Segment: Encodable {
        var segment: Transcript.Segment
    }

    private struct Result: Encodable {
        var result: Transcript
    }

    private struct Reason: Encodable {
        var error: String
    }
}

/// Runs work, and cancels it on SIGTERM or SIGINT.
///
/// Returns the value of the work in both cases.
private func withSignalsAsCancellation<T: Sendable>(_ work: @escaping @Sendable () async -> T) async -> T {
    let signals = await UnixSignalsSequence(trapping: [.sigterm, .sigint])
    return await withTaskGroup(of: T?.self) { group in
        group.addTask { await work() }
        group.addTask {
            for await _ in signals { break }
            return nil
        }
        // The work has ended, or a signal has arrived and the work has to end.
        var result = await group.next() ?? nil
        group.cancelAll()
        for await ended in group { result = ended ?? result }
        guard let result else { preconditionFailure("the work always returns") }
        return result
    }
}
