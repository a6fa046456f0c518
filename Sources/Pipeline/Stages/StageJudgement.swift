import Subprocess

/// From how a command ended to what is said about it, to a therapist and to the log.
struct StageJudgement {
    /// The environment variable that named the command.
    let setting: String
    /// What the people who watch call the stage.
    let title: String
    /// The name of the command's program, as the setting has it.
    let program: String

    /// The result, or the failure that the ending amounts to.
    ///
    /// The first cause wins: output that breaks the protocol had the command ended, so it is judged before the status.
    func judge(_ ending: StageProcess.Ending) throws(StageFailure) -> StageResult {
        // How much it is and not what: a program may well print there what was said in the session.
        let context = "\(setting)=\(program) …; \(ending.errorTail.byteCount) bytes of standard error"
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

    /// The failure for a program that did not start.
    func notStarted(_ error: SubprocessError) -> StageFailure {
        let missing = error.code == .executableNotFound
        return StageFailure(
            missing ? .missingProgram : .notStarted,
            publicMessage: missing
                ? "The \(title) program is not installed on the server (setting \(setting))."
                : "The \(title) program could not be started.",
            detail: "\(setting) names the program \"\(program)\": \(error)"
        )
    }

    /// The failure for a command that took too long.
    func timedOut(after timeout: Duration) -> StageFailure {
        StageFailure(
            .timedOut,
            publicMessage: "The \(title) took too long and was stopped.",
            detail: "\(setting)=\(program) … was ended after \(timeout)"
        )
    }
}

extension StageOutput.Fault {
    /// What an operator needs to find the line; never its text, which may be a patient's words.
    var explanation: String {
        switch self {
        case .notJSON(let line, let fault): "line \(line) of standard output is no JSON object (\(fault))"
        case .lineTooLong(let line, let limit): "line \(line) of standard output is longer than \(limit) bytes"
        case .afterResult(let line): "line \(line) of standard output comes after the result"
        }
    }
}
