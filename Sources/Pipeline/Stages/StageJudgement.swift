import Cage
import Subprocess
import SystemPackage

/// Turns the end of a command into a result or a failure, with a message for therapists and a detail for the log.
struct StageJudgement {
    /// The environment variable with the command.
    let setting: String
    /// The name of the stage in messages to users.
    let title: String
    /// The name of the program, as in the setting.
    let program: String
    /// What the result has to be.
    let rule: StageResultRule
    /// What the command must not tell.
    let secrets: SecretValues
    /// What the command has printed.
    let trace: StageTrace

    /// Returns the result of a command that ended, or throws the failure.
    func judge(_ ending: StageProcess.Ending) throws(StageFailure) -> StageResult {
        if let failure = ending.report.failure { throw notStarted(failure) }
        let reason = ending.output.reason
        switch ending.status {
        case .exited(0): break
        case .exited(let code) where Int(code) == StageFailure.unavailableStatus:
            throw failure(
                .unavailable, "The \(title) program cannot work now.", "exit status \(code)", exitStatus: Int(code))
        case .exited(let code):
            throw failure(
                .exited, reason ?? "The \(title) program failed without saying why.", "exit status \(code)",
                exitStatus: Int(code))
        case .signaled(let signal):
            throw failure(.killed, "The \(title) program was stopped before it was done.", "signal \(signal)")
        }
        guard var result = ending.output.result else {
            throw withoutResult(refused: ending.output.refusedResult, reason: reason)
        }
        do throws(StageResultRule.Fault) {
            result.json = try rule.checked(result.json)
        } catch {
            throw refusal(error.description)
        }
        result.foreignLines = ending.output.foreignLines
        return result
    }

    private func withoutResult(refused line: ForeignLines.Line?, reason: String?) -> StageFailure {
        if let line { return refusal("line \(line.number) is \(line.kind.rawValue)") }
        return failure(
            .noResult, reason ?? "The \(title) program ended without a result.",
            "exit status 0 and no line {\"result\": …}", exitStatus: 0)
    }

    /// Makes the failure of a command whose result cannot be used.
    ///
    /// The fault names members and numbers, and none of the result's words.
    private func refusal(_ fault: String) -> StageFailure {
        failure(
            .badOutput, "The \(title) program gave an answer that could not be understood: \(fault).",
            "the result cannot be used: \(fault)", exitStatus: 0)
    }

    /// Makes the failure of a launcher that did not start.
    func notStarted(_ error: SubprocessError) -> StageFailure {
        failure(.notStarted, "The \(title) program could not be started.", "the launcher: \(error)")
    }

    /// Makes the failure of a cage that could not be prepared.
    func notStarted(_ fault: CageFault) -> StageFailure {
        failure(.notStarted, "The \(title) program could not be started.", "the cage: \(fault)")
    }

    /// Makes the failure of a program that its launcher could not start.
    private func notStarted(_ report: CageReport.Failure) -> StageFailure {
        switch report {
        case .program(let errno):
            let missing = [Errno.noSuchFileOrDirectory, .notDirectory, .permissionDenied].contains(
                Errno(rawValue: errno))
            return failure(
                missing ? .missingProgram : .notStarted,
                missing
                    ? "The \(title) program is not installed on the server (setting \(setting))."
                    : "The \(title) program could not be started.",
                "\(setting) names the program \"\(program)\": \(Errno(rawValue: errno))"
            )
        case .cage(let mechanism, let errno):
            return failure(
                .notStarted, "The \(title) program could not be started.",
                "the cage: \(mechanism?.rawValue ?? "a step of the launcher") failed: \(Errno(rawValue: errno))")
        }
    }

    /// Makes the failure of a command that ran into a limit of its time.
    func ended(by limit: StageTimeLimit) -> StageFailure {
        switch limit {
        case .timeout(let timeout):
            failure(.timedOut, "The \(title) took too long and was stopped.", "ended after \(timeout)")
        case .stall(let timeout):
            failure(
                .stalled, "The \(title) program stood still and was stopped.", "ended after \(timeout) without a word")
        }
    }

    private func failure(
        _ code: StageFailure.Code, _ publicMessage: String, _ detail: String, exitStatus: Int? = nil
    ) -> StageFailure {
        // The size of standard error, but not its text: the program may print words of the session there.
        let tail = trace.errorTail
        return StageFailure(
            code, publicMessage: publicMessage,
            detail: "\(detail); \(setting)=\(program) …; \(tail.byteCount) bytes of standard error",
            exitStatus: exitStatus, outputTail: tail.text(without: secrets), foreignLines: trace.foreignLines)
    }
}

/// A limit of time that ended a command.
enum StageTimeLimit: Error {
    /// The command ran longer than allowed.
    case timeout(Duration)
    /// The command printed nothing for this long.
    case stall(Duration)
}
