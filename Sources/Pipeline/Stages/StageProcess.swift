import Subprocess

/// The life of a stage's process: spawn, read both outputs, wait, and leave nobody behind.
///
/// swift-subprocess reaps the leader and closes the descriptors. What it leaves to us is the rest of the group: its teardown ends
/// as soon as the leader is gone, and a child that ignores SIGTERM, or was left in the background, would live on. So the body
/// sweeps the group with SIGKILL at its end. It does so while the leader is a zombie that only `run` reaps after the body:
/// until then the kernel gives its number, which is the group's, to nobody else.
struct StageProcess: Sendable {
    /// How a process ended, and what it said.
    struct Ending: Sendable {
        var status: TerminationStatus
        var output: Result<StageResult?, StageOutput.Fault>
        var errorTail: OutputTail
    }

    var configuration: Configuration
    var grace: Duration

    /// Runs the process to its end.
    ///
    /// - Parameter onProgress: called with each progress as it is read; must return at once.
    /// - Returns: the status, the result and the end of standard error.
    /// - Throws: `SubprocessError` when it cannot be started.
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
            // Signal 0 sends nothing: this waits for the leader, which may have closed its outputs long before its end. The
            // outer timeout or a cancellation ends the wait, since either ends the leader.
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
            // The pipe broke: what was read until then is judged with the exit status.
            return .success(output.result)
        }
    }
}
