import Cage
import Subprocess

/// The process of a stage: starts its launcher, reads its outputs, waits for it, and leaves no process behind.
///
/// swift-subprocess reaps the launcher and closes the descriptors. The launcher ends when the program of the stage has
/// ended, and every process that the program started with it.
struct StageProcess: Sendable {
    /// The exit status and the output of a process.
    struct Ending: Sendable {
        var status: TerminationStatus
        var output: StageOutput
        var report = CageReport()
    }

    var launch: CageLaunch
    /// The Unix user of the processes, or nil for the user of this process.
    var account: CageAccount?
    /// Receives what the process prints.
    var trace: StageTrace
    /// What the process must not tell people.
    var secrets: SecretValues

    /// Runs the process to its end.
    ///
    /// - Parameter onNews: Is called when the trace has news. It must return at once.
    /// - Returns: The status and the output.
    /// - Throws: `SubprocessError` when the launcher cannot be started.
    func run(onNews: @escaping @Sendable () -> Void) async throws -> Ending {
        let outcome = try await Subprocess.run(
            launch.configuration, input: launch.input, output: .sequence, error: .sequence
        ) { execution in
            launch.start()
            async let errors: Void = readErrors(execution.standardError, onNews: onNews)
            let output = await read(execution.standardOutput, onNews: onNews)
            await errors
            // Signal 0 sends nothing. This waits for the launcher: the program may have closed its outputs long before its
            // end. A timeout or a cancellation outside ends the launcher, and with it this wait.
            let nothing = Signal(rawValue: 0)
            await execution.teardown(using: [.send(signal: nothing, allowedDurationToNextStep: .seconds(7 * 86_400))])
            return output
        }
        // A launcher that was killed has left its descendants.
        if case .signaled = outcome.terminationStatus { LeftOvers.kill(account: account) }
        return Ending(status: outcome.terminationStatus, output: outcome.closureResult, report: launch.report())
    }

    private func read(_ bytes: SubprocessOutputSequence, onNews: () -> Void) async -> StageOutput {
        var output = StageOutput(hiding: secrets)
        func tell(_ count: Int) {
            if trace.note(output: count, foreign: output.foreignLines, news: output.takeNews()) { onNews() }
        }
        do {
            for try await buffer in bytes {
                let count = buffer.withUnsafeBytes { bytes in
                    output.consume(Array(bytes)[...])
                    return bytes.count
                }
                tell(count)
            }
        } catch {
            // The pipe broke. The exit status decides about the output until then.
        }
        output.finish()
        tell(0)
        return output
    }

    /// Reads standard error to its end.
    ///
    /// A broken pipe is an end, too.
    private func readErrors(_ bytes: SubprocessOutputSequence, onNews: () -> Void) async {
        do {
            for try await buffer in bytes {
                if trace.note(error: buffer.withUnsafeBytes { Array($0) }) { onNews() }
            }
        } catch {
            // The bytes until then are the tail.
        }
    }
}
