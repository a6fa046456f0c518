import Subprocess

/// The process of a stage: starts it, reads its outputs, waits for it, and leaves no process behind.
///
/// swift-subprocess reaps the leader and closes the descriptors. Its teardown ends when the leader is gone. A child in
/// the background, or one that ignores SIGTERM, would live on. The body therefore sends SIGKILL to the group at its
/// end. At that time the leader is a zombie, because `run` reaps it after the body. Until then, the kernel gives the
/// number of the group to no other process.
struct StageProcess: Sendable {
    /// The exit status and the outputs of a process.
    struct Ending: Sendable {
        var status: TerminationStatus
        var output: Result<StageResult?, StageOutput.Fault>
        var errorTail: OutputTail
    }

    var configuration: Configuration
    var grace: Duration

    /// Runs the process to its end.
    ///
    /// - Parameter onProgress: Receives each progress as it is read. It must return at once.
    /// - Returns: The status, the result and the end of standard error.
    /// - Throws: `SubprocessError` when the process cannot be started.
    func run(onProgress: @escaping @Sendable (StageProgress) -> Void) async throws -> Ending {
        let outcome = try await Subprocess.run(configuration, input: .none, output: .sequence, error: .sequence) {
            execution in
            async let tail = OutputTail(of: execution.standardError)
            let output = await Self.read(execution.standardOutput, onProgress: onProgress)
            if case .failure = output {
                await execution.teardown(
                    using: [.gracefulShutDown(toProcessGroup: true, allowedDurationToNextStep: grace)]
                )
            }
            let errorTail = await tail
            // Signal 0 sends nothing. This waits for the leader, which may have closed its outputs long before its end.
            // A timeout or a cancellation outside ends the leader, and with it this wait.
            let nothing = Signal(rawValue: 0)
            await execution.teardown(using: [.send(signal: nothing, allowedDurationToNextStep: .seconds(7 * 86_400))])
            try? execution.send(signal: .kill, toProcessGroup: true)
            return (output, errorTail)
        }
        return Ending(
            status: outcome.terminationStatus, output: outcome.closureResult.0, errorTail: outcome.closureResult.1
        )
    }

    private static func read(
        _ bytes: SubprocessOutputSequence,
        onProgress: (StageProgress) -> Void
    ) async -> Result<StageResult?, StageOutput.Fault> {
        var output = StageOutput()
        do {
            for try await buffer in bytes {
                let newest = try buffer.withUnsafeBytes { try output.consume(Array($0)[...]) }
                if let newest { onProgress(newest) }
            }
            if let newest = try output.finish() { onProgress(newest) }
            return .success(output.result)
        } catch let fault as StageOutput.Fault {
            return .failure(fault)
        } catch {
            // The pipe broke. The exit status decides about the output until then.
            return .success(output.result)
        }
    }
}
