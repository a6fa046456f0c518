/// How far a stage says it has come.
public struct StageProgress: Sendable, Equatable {
    /// 0 to 100, of this stage alone; a value outside is clamped.
    public var progress: Int
    /// What the stage is doing, for the people who watch; at most 2,000 characters.
    public var message: String?
    /// Whole seconds until the stage is done, as it estimates; nil when it does not say.
    public var estimatedTimeRemaining: Int?

    /// Describes a stage's progress.
    ///
    /// - Parameters:
    ///   - progress: 0 to 100.
    ///   - message: what the stage is doing, or nil.
    ///   - estimatedTimeRemaining: whole seconds, or nil when unknown.
    public init(progress: Int, message: String? = nil, estimatedTimeRemaining: Int? = nil) {
        self.progress = min(max(progress, 0), 100)
        self.message = message.map { String($0.prefix(Self.messageLimit)) }
        self.estimatedTimeRemaining = estimatedTimeRemaining.map { max($0, 0) }
    }

    /// As long as a message in the database may be: its first 2,000 characters are kept.
    static let messageLimit = 2_000
}

/// What a stage has made.
public struct StageResult: Sendable, Equatable {
    /// The value of `result` as the command printed it: valid JSON in UTF-8 that PostgreSQL's `jsonb` takes.
    ///
    /// "Takes" means no `\u0000` and no half of a surrogate pair, both of which `jsonb` refuses.
    public var json: String

    /// Wraps a result.
    ///
    /// - Parameter json: valid JSON.
    public init(json: String) {
        self.json = json
    }
}

/// Why a stage has no result.
///
/// ``publicMessage`` is safe to show to a therapist; ``detail`` is for the log of the operator and must not reach a browser.
public struct StageFailure: Error, Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible {
    /// The kinds of failure, for metrics and tests.
    public enum Code: String, Sendable, Equatable, CaseIterable {
        /// The command ended with a status other than 0.
        case exited
        /// A signal ended the command.
        case killed
        /// The program is not there, or may not be executed.
        case missingProgram
        /// The program could not be started for another reason.
        case notStarted
        /// A line of standard output is no JSON object, or is too long.
        case badOutput
        /// The command ended well without a result.
        case noResult
        /// It took longer than allowed.
        case timedOut
    }

    /// What kind of failure it is.
    public let code: Code
    /// One sentence for the people who watch the session.
    public let publicMessage: String
    /// What an operator needs to find the cause: status and program; nothing that the program has printed.
    public let detail: String

    /// Describes a failure.
    ///
    /// - Parameters:
    ///   - code: its kind.
    ///   - publicMessage: one sentence without paths or settings that a therapist could not use.
    ///   - detail: the rest, for the log.
    public init(_ code: Code, publicMessage: String, detail: String) {
        self.code = code
        self.publicMessage = publicMessage
        self.detail = detail
    }

    /// The public message alone.
    public var description: String { publicMessage }

    /// Everything, for the log.
    public var debugDescription: String { "\(code.rawValue): \(publicMessage) [\(detail)]" }
}
