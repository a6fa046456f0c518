/// The progress of a stage, as the stage reports it.
public struct StageProgress: Sendable, Equatable {
    /// The progress of this stage alone, 0 to 100.
    ///
    /// A value outside is clamped.
    public var progress: Int
    /// What the stage does, for users; at most 2,000 characters.
    public var message: String?
    /// The stage's estimate of the remaining whole seconds, or nil without an estimate.
    public var estimatedTimeRemaining: Int?

    /// Describes the progress of a stage.
    ///
    /// - Parameters:
    ///   - progress: The progress, 0 to 100.
    ///   - message: What the stage does, or nil.
    ///   - estimatedTimeRemaining: The remaining whole seconds, or nil if unknown.
    public init(progress: Int, message: String? = nil, estimatedTimeRemaining: Int? = nil) {
        self.progress = min(max(progress, 0), 100)
        self.message = message.map { String($0.prefix(Self.messageLimit)) }
        self.estimatedTimeRemaining = estimatedTimeRemaining.map { max($0, 0) }
    }

    /// The length of a message in the database: PostgreSQL keeps its first 2,000 characters.
    static let messageLimit = 2_000
}

/// The result of a stage.
public struct StageResult: Sendable, Equatable {
    /// The value of `result` as the command printed it: valid JSON in UTF-8 that PostgreSQL's `jsonb` accepts.
    ///
    /// `jsonb` refuses `\u0000` and half of a surrogate pair.
    public var json: String

    /// Wraps a result.
    ///
    /// - Parameter json: Valid JSON.
    public init(json: String) {
        self.json = json
    }
}

/// Why a stage has no result.
///
/// ``publicMessage`` may be shown to a therapist. ``detail`` is for the operator's log and must not reach a browser.
public struct StageFailure: Error, Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible {
    /// The kinds of failure, for metrics and tests.
    public enum Code: String, Sendable, Equatable, CaseIterable {
        /// The command ended with a status other than 0.
        case exited
        /// A signal ended the command.
        case killed
        /// The program is missing, or may not be executed.
        case missingProgram
        /// The program could not be started for another reason.
        case notStarted
        /// A line of standard output is not a JSON object, or is too long.
        case badOutput
        /// The command ended with status 0 and without a result.
        case noResult
        /// The command ran longer than allowed.
        case timedOut
        /// The recording is longer than allowed. No command runs on it.
        case tooLong
    }

    /// The kind of the failure.
    public let code: Code
    /// One sentence for the users who watch the session.
    public let publicMessage: String
    /// What an operator needs to find the cause: status and program, but nothing that the program printed.
    public let detail: String

    /// Describes a failure.
    ///
    /// - Parameters:
    /// - code: The kind of the failure.
    ///   - publicMessage: One sentence without paths and settings.
    ///   - detail: The details for the log.
    public init(_ code: Code, publicMessage: String, detail: String) {
        self.code = code
        self.publicMessage = publicMessage
        self.detail = detail
    }

    /// The public message.
    public var description: String { publicMessage }

    /// The kind, the message and the detail, for the log.
    public var debugDescription: String { "\(code.rawValue): \(publicMessage) [\(detail)]" }
}
