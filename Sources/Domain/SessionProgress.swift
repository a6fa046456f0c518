/// The state of one session's processing at one version: what every watcher is shown.
public struct SessionProgress: Hashable, Sendable, Codable {
    /// The session that this is the progress of.
    public var sessionID: SessionID
    /// Where the session stands.
    public var status: SessionStatus
    /// Per cent done, 0-100.
    public var progress: Int
    /// What is being done, in words for a person; at most 2,000 characters.
    public var message: String?
    /// Why it failed, in words for a person; only when ``status`` is ``SessionStatus/failed``.
    public var error: String?
    /// Whole seconds until the session is likely done; nil when nobody knows.
    public var estimatedTimeRemaining: Int?
    /// Starts at 1 and grows by one with every change of this session.
    public var version: Int64
    /// Starts at 1 and grows with every retry or take-over.
    public var attempt: Int
    /// When the session was made.
    public var createdAt: Timestamp
    /// When this version was written.
    public var updatedAt: Timestamp

    /// A state with all its members.
    public init(
        sessionID: SessionID, status: SessionStatus, progress: Int, message: String?, error: String?,
        estimatedTimeRemaining: Int?, version: Int64, attempt: Int, createdAt: Timestamp, updatedAt: Timestamp
    ) {
        self.sessionID = sessionID
        self.status = status
        self.progress = progress
        self.message = message
        self.error = error
        self.estimatedTimeRemaining = estimatedTimeRemaining
        self.version = version
        self.attempt = attempt
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }

    private enum CodingKeys: String, CodingKey {
        case sessionID = "session_id"
        case status, progress, message, error
        case estimatedTimeRemaining = "estimated_time_remaining"
        case version, attempt
        case createdAt = "created_at"
        case updatedAt = "updated_at"
    }

    /// Encodes every key, with null for what is not known: a client need not tell a missing key from a null.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(sessionID, forKey: .sessionID)
        try container.encode(status, forKey: .status)
        try container.encode(progress, forKey: .progress)
        try container.encode(message, forKey: .message)
        try container.encode(error, forKey: .error)
        try container.encode(estimatedTimeRemaining, forKey: .estimatedTimeRemaining)
        try container.encode(version, forKey: .version)
        try container.encode(attempt, forKey: .attempt)
        try container.encode(createdAt, forKey: .createdAt)
        try container.encode(updatedAt, forKey: .updatedAt)
    }
}

/// One change of status in the life of a session, as kept in `app.session_events`.
///
/// Percentages are not kept: they may be skipped on the way to a watcher, a transition never.
public struct StatusTransition: Hashable, Sendable, Codable {
    /// The version that this transition made.
    public var version: Int64
    /// The attempt that it belongs to.
    public var attempt: Int
    /// The status that was entered.
    public var status: SessionStatus
    /// Per cent done at that moment, 0-100.
    public var progress: Int
    /// What was being done, in words for a person.
    public var message: String?
    /// Why it failed, when it did.
    public var error: String?
    /// When it happened.
    public var at: Timestamp

    /// A transition with all its members.
    public init(
        version: Int64, attempt: Int, status: SessionStatus, progress: Int, message: String?, error: String?,
        at: Timestamp
    ) {
        self.version = version
        self.attempt = attempt
        self.status = status
        self.progress = progress
        self.message = message
        self.error = error
        self.at = at
    }

    private enum CodingKeys: String, CodingKey {
        case version, attempt, status, progress, message, error, at
    }

    /// Encodes every key, with null for what is not known.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(version, forKey: .version)
        try container.encode(attempt, forKey: .attempt)
        try container.encode(status, forKey: .status)
        try container.encode(progress, forKey: .progress)
        try container.encode(message, forKey: .message)
        try container.encode(error, forKey: .error)
        try container.encode(at, forKey: .at)
    }

    /// The progress object that a watcher would have been shown at that moment.
    public func progress(of session: SessionID, createdAt: Timestamp) -> SessionProgress {
        SessionProgress(
            sessionID: session, status: status, progress: progress, message: message, error: error,
            estimatedTimeRemaining: nil, version: version, attempt: attempt, createdAt: createdAt, updatedAt: at)
    }
}

/// A report of progress by a pipeline, not yet held against the state machine.
public struct ProgressReport: Sendable, Equatable {
    /// The session that the report is about.
    public var sessionID: SessionID
    /// The status that the pipeline is in.
    public var status: SessionStatus
    /// Per cent done, 0-100.
    public var progress: Int
    /// What is being done, in words for a person.
    public var message: String?
    /// Why it failed, in words for a person.
    public var error: String?
    /// Whole seconds until the session is likely done.
    public var estimatedTimeRemaining: Int?
    /// The attempt that the reporter works on; nil takes the present one.
    public var attempt: Int?

    /// A report; what is left out is not known.
    public init(
        sessionID: SessionID, status: SessionStatus, progress: Int, message: String? = nil, error: String? = nil,
        estimatedTimeRemaining: Int? = nil, attempt: Int? = nil
    ) {
        self.sessionID = sessionID
        self.status = status
        self.progress = progress
        self.message = message
        self.error = error
        self.estimatedTimeRemaining = estimatedTimeRemaining
        self.attempt = attempt
    }
}
