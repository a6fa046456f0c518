/// Why a stage has no result: what ended it, what is at fault, and its last words.
///
/// ``publicMessage`` may be shown to a therapist. ``detail`` is for the operator's log. ``outputTail`` is for
/// administrators alone, because it may hold a patient's words.
public struct StageFailure: Error, Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible {
    /// The kinds of failure, for metrics and tests.
    public enum Code: String, Sendable, Equatable, CaseIterable {
        /// The command ended with a status other than 0 and 75: it refuses the recording.
        case exited
        /// The command ended with status 75: it cannot work now.
        case unavailable
        /// A signal ended the command, or its launcher.
        case killed
        /// The program is missing, or may not be executed.
        case missingProgram
        /// The program could not be started for another reason.
        case notStarted
        /// The command has a result that cannot be used.
        case badOutput
        /// The command ended with status 0 and without a result.
        case noResult
        /// The command ran longer than allowed.
        case timedOut
        /// The command printed nothing for too long.
        case stalled
        /// The recording is longer than allowed. No command runs on it.
        case tooLong

        /// What is at fault.
        public var fault: Fault {
            switch self {
            case .exited, .badOutput, .noResult, .tooLong: .recording
            case .unavailable, .missingProgram, .notStarted: .installation
            case .killed, .timedOut, .stalled: .run
            }
        }
    }

    /// What is at fault, and therefore what becomes of the session.
    public enum Fault: Sendable, Equatable {
        /// The recording, or what the stage made of it: the session fails.
        case recording
        /// The installation: the session keeps its status, and waits until the stage can work.
        case installation
        /// This run: it used up an attempt, and another one may succeed.
        case run
    }

    /// The exit status with which a stage says that the installation is at fault.
    ///
    /// Source: `EX_TEMPFAIL` of sysexits(3): "temporary failure, indicating something that is not really an error".
    public static let unavailableStatus = 75

    /// The kind of the failure.
    public let code: Code
    /// One sentence for the users who watch the session.
    ///
    /// It has no line ends and no control characters, and at most 500 characters.
    public let publicMessage: String
    /// What an operator needs to find the cause: status and program, but nothing that the program printed.
    public let detail: String
    /// The exit status, or nil if a signal or the worker ended the command, or if it did not start.
    public let exitStatus: Int?
    /// The end of standard error, for administrators: at most 8 KiB, without control characters but line ends, and
    /// without the values of `PIPELINE_STAGE_ENV`.
    public let outputTail: String
    /// The lines of standard output that were passed over.
    public let foreignLines: ForeignLines

    /// What is at fault.
    public var fault: Fault { code.fault }

    /// Describes a failure.
    ///
    /// - Parameters:
    ///   - code: The kind of the failure.
    ///   - publicMessage: One sentence without paths and settings.
    ///   - detail: The details for the log.
    ///   - exitStatus: How the command ended, or nil.
    ///   - outputTail: The end of standard error.
    ///   - foreignLines: The lines of standard output that were passed over.
    public init(
        _ code: Code, publicMessage: String, detail: String, exitStatus: Int? = nil, outputTail: String = "",
        foreignLines: ForeignLines = ForeignLines()
    ) {
        self.code = code
        self.publicMessage = publicMessage
        self.detail = detail
        self.exitStatus = exitStatus
        self.outputTail = outputTail
        self.foreignLines = foreignLines
    }

    /// The public message.
    public var description: String { publicMessage }

    /// The kind, the message and the detail, for the log.
    public var debugDescription: String { "\(code.rawValue): \(publicMessage) [\(detail)]" }
}
