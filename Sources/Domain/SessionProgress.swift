/// The progress of a session at one version.
public struct SessionProgress: Hashable, Sendable, Codable {
    /// The session.
    public var sessionID: SessionID
    /// The status.
    public var status: SessionStatus
    /// Per cent done, 0-100.
    public var progress: Int
    /// What is being done, in words for people; at most 2,000 characters.
    public var message: String?
    /// Why the session failed, in words for people; nil unless ``status`` is ``SessionStatus/failed``.
    public var error: String?
    /// The estimated time until the session is processed, in whole seconds; nil if it is unknown.
    public var estimatedTimeRemaining: Int?
    /// How many segments the transcript has so far; 0 after a retry, until the new transcript replaces an earlier one.
    public var segments: Int
    /// The version: starts at 1 and grows by one with every change.
    public var version: Int64
    /// The attempt: starts at 1 and grows with every retry and takeover.
    public var attempt: Int
    /// When the session was created.
    public var createdAt: Timestamp
    /// When this version was written.
    public var updatedAt: Timestamp

    /// A progress with all its members.
    public init(
        sessionID: SessionID, status: SessionStatus, progress: Int, message: String?, error: String?,
        estimatedTimeRemaining: Int?, segments: Int = 0, version: Int64, attempt: Int, createdAt: Timestamp,
        updatedAt: Timestamp
    ) {
        self.sessionID = sessionID
        self.status = status
        self.progress = progress
        self.message = message
        self.error = error
        self.estimatedTimeRemaining = estimatedTimeRemaining
        self.segments = segments
        self.version = version
        self.attempt = attempt
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }

    private enum CodingKeys: String, CodingKey {
        case sessionID = "session_id"
        case status, progress, message, error
        case estimatedTimeRemaining = "estimated_time_remaining"
        case segments, version, attempt
        case createdAt = "created_at"
        case updatedAt = "updated_at"
    }

    /// Encodes every member; a missing value is null.
    ///
    /// Clients therefore do not have to distinguish a missing member from a null.
    ///
    /// - Throws: The error of the encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(sessionID, forKey: .sessionID)
        try container.encode(status, forKey: .status)
        try container.encode(progress, forKey: .progress)
        try container.encode(message, forKey: .message)
        try container.encode(error, forKey: .error)
        try container.encode(estimatedTimeRemaining, forKey: .estimatedTimeRemaining)
        try container.encode(segments, forKey: .segments)
        try container.encode(version, forKey: .version)
        try container.encode(attempt, forKey: .attempt)
        try container.encode(createdAt, forKey: .createdAt)
        try container.encode(updatedAt, forKey: .updatedAt)
    }
}

/// A transition of a session: a row of `app.session_events`.
public struct StatusTransition: Hashable, Sendable, Codable {
    /// The version after the transition.
    public var version: Int64
    /// The attempt after the transition.
    public var attempt: Int
    /// The status after the transition.
    public var status: SessionStatus
    /// Per cent done after the transition, 0-100.
    public var progress: Int
    /// What was being done, in words for people.
    public var message: String?
    /// Why the session failed; nil unless ``status`` is ``SessionStatus/failed``.
    public var error: String?
    /// How many segments the transcript had after the transition.
    ///
    /// The JSON leaves it out.
    public var segments = 0
    /// When the transition happened.
    public var at: Timestamp

    /// A transition with all its members.
    public init(
        version: Int64, attempt: Int, status: SessionStatus, progress: Int, message: String?, error: String?,
        segments: Int = 0, at: Timestamp
    ) {
        self.version = version
        self.attempt = attempt
        self.status = status
        self.progress = progress
        self.message = message
        self.error = error
        self.segments = segments
        self.at = at
    }

    private enum CodingKeys: String, CodingKey {
        case version, attempt, status, progress, message, error, at
    }

    /// Encodes every member; a missing value is null.
    ///
    /// - Throws: The error of the encoder.
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

    /// The progress right after the transition.
    public func progress(of session: SessionID, createdAt: Timestamp) -> SessionProgress {
        SessionProgress(
            sessionID: session, status: status, progress: progress, message: message, error: error,
            estimatedTimeRemaining: nil, segments: segments, version: version, attempt: attempt, createdAt: createdAt,
            updatedAt: at)
    }
}

/// A report of a pipeline, before the state machine has checked it.
public struct ProgressReport: Sendable, Equatable {
    /// The session that the report concerns.
    public var sessionID: SessionID
    /// The reported status.
    public var status: SessionStatus
    /// Per cent done, 0-100.
    public var progress: Int
    /// What is being done, in words for people.
    public var message: String?
    /// Why the session failed, in words for people.
    public var error: String?
    /// The estimated time until the session is processed, in whole seconds; nil if it is unknown.
    public var estimatedTimeRemaining: Int?
    /// The attempt that the pipeline works on; nil for the present attempt.
    public var attempt: Int?
    /// The lease under which the pipeline works; nil if it has none.
    public var lease: LeaseToken?

    /// A report; nil for an unknown value.
    public init(
        sessionID: SessionID, status: SessionStatus, progress: Int, message: String? = nil, error: String? = nil,
        estimatedTimeRemaining: Int? = nil, attempt: Int? = nil, lease: LeaseToken? = nil
    ) {
        self.sessionID = sessionID
        self.status = status
        self.progress = progress
        self.message = message
        self.error = error
        self.estimatedTimeRemaining = estimatedTimeRemaining
        self.attempt = attempt
        self.lease = lease
    }
}
