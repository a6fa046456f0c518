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

    /// Returns the result of a command that ended, or throws the failure.
    ///
    /// A fault of the output decides before the exit status does: because of the fault, the server ended the command
    /// itself.
    func judge(_ ending: StageProcess.Ending) throws(StageFailure) -> StageResult {
        // The size of standard error, but not its text: the program may print words of the session there.
        let context = "\(setting)=\(program) …; \(ending.errorTail.byteCount) bytes of standard error"
        if let failure = ending.report.failure { throw notStarted(failure) }
        let output: StageResult?
        switch ending.output {
        case .success(let result): output = result
        case .failure(let fault):
            throw StageFailure(
                .badOutput,
                publicMessage: "The \(title) program gave an answer that could not be understood.",
                detail: "\(fault.explanation); \(context)"
            )
        }
        switch ending.status {
        case .exited(0): break
        case .exited(let code):
            throw StageFailure(
                .exited,
                publicMessage: ending.errorTail.lastLine ?? "The \(title) program failed without saying why.",
                detail: "exit status \(code); \(context)"
            )
        case .signaled(let signal):
            throw StageFailure(
                .killed,
                publicMessage: "The \(title) program was stopped before it was done.",
                detail: "signal \(signal); \(context)"
            )
        }
        guard let output else {
            throw StageFailure(
                .noResult,
                publicMessage: "The \(title) program ended without a result.",
                detail: "exit status 0 and no line {\"result\": …}; \(context)"
            )
        }
        return output
    }

    /// Makes the failure of a launcher that did not start.
    func notStarted(_ error: SubprocessError) -> StageFailure {
        StageFailure(
            .notStarted, publicMessage: "The \(title) program could not be started.",
            detail: "the launcher of \(setting)=\(program) …: \(error)")
    }

    /// Makes the failure of a program that its launcher could not start.
    private func notStarted(_ failure: CageReport.Failure) -> StageFailure {
        switch failure {
        case .program(let errno):
            let missing = [Errno.noSuchFileOrDirectory, .notDirectory, .permissionDenied].contains(
                Errno(rawValue: errno))
            return StageFailure(
                missing ? .missingProgram : .notStarted,
                publicMessage: missing
                    ? "The \(title) program is not installed on the server (setting \(setting))."
                    : "The \(title) program could not be started.",
                detail: "\(setting) names the program \"\(program)\": \(Errno(rawValue: errno))"
            )
        case .cage(let mechanism, let errno):
            return StageFailure(
                .notStarted, publicMessage: "The \(title) program could not be started.",
                detail: "the cage of \(setting)=\(program) …: "
                    + "\(mechanism?.rawValue ?? "a step of the launcher") failed: \(Errno(rawValue: errno))")
        }
    }

    /// Makes the failure of a command that ran into its timeout.
    func timedOut(after timeout: Duration) -> StageFailure {
        StageFailure(
            .timedOut,
            publicMessage: "The \(title) took too long and was stopped.",
            detail: "\(setting)=\(program) … was ended after \(timeout)"
        )
    }
}

extension StageOutput.Fault {
    /// Describes the fault for the operator, with the number of the line.
    ///
    /// The line itself may hold a patient's words.
    var explanation: String {
        switch self {
        case .notJSON(let line, let fault): "line \(line) of standard output is not a JSON object (\(fault))"
        case .lineTooLong(let line, let limit): "line \(line) of standard output is longer than \(limit) bytes"
        case .afterResult(let line): "line \(line) of standard output comes after the result"
        }
    }
}
