import Cage
import Subprocess

/// The process of a stage: starts its launcher, reads its outputs, waits for it, and leaves no process behind.
///
/// swift-subprocess reaps the launcher and closes the descriptors. The launcher ends when the program of the stage has
/// ended, and every process that the program started with it.
struct StageProcess: Sendable {
    /// The exit status and the outputs of a process.
    struct Ending: Sendable {
        var status: TerminationStatus
        var output: Result<StageResult?, StageOutput.Fault>
        var errorTail: OutputTail
        var report = CageReport()
    }

    var launch: CageLaunch
    var grace: Duration
    /// The Unix user of the processes, or nil for the user of this process.
    var account: CageAccount?

    /// Runs the process to its end.
    ///
    /// - Parameter onProgress: Receives each progress as it is read. It must return at once.
    /// - Returns: The status, the result and the end of standard error.
    /// - Throws: `SubprocessError` when the launcher cannot be started.
    func run(onProgress: @escaping @Sendable (StageProgress) -> Void) async throws -> Ending {
        let outcome = try await Subprocess.run(
            launch.configuration, input: launch.input, output: .sequence, error: .sequence
        ) { execution in
            launch.start()
            async let tail = OutputTail(of: execution.standardError)
            let output = await Self.read(execution.standardOutput, onProgress: onProgress)
            if case .failure = output {
                await execution.teardown(
                    using: [
                        .gracefulShutDown(
                            toProcessGroup: false, allowedDurationToNextStep: grace + CageLaunch.endingTime)
                    ]
                )
            }
            let errorTail = await tail
            // Signal 0 sends nothing. This waits for the launcher: the program may have closed its outputs long before its
            // end. A timeout or a cancellation outside ends the launcher, and with it this wait.
            let nothing = Signal(rawValue: 0)
            await execution.teardown(using: [.send(signal: nothing, allowedDurationToNextStep: .seconds(7 * 86_400))])
            return (output, errorTail)
        }
        // A launcher that was killed has left its descendants.
        if case .signaled = outcome.terminationStatus { LeftOvers.kill(account: account) }
        return Ending(
            status: outcome.terminationStatus, output: outcome.closureResult.0, errorTail: outcome.closureResult.1,
            report: launch.report()
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
