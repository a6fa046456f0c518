#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The status of a session.
///
/// A newer server may have more statuses than this release has constants.
public struct SessionStatus: RawRepresentable, Hashable, Sendable, Decodable {
    /// The word of the API, such as `transcribing`.
    public let rawValue: String

    /// Makes a status from the word of the API.
    ///
    /// - Parameter rawValue: The word, such as `transcribing`.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// The bytes of the recording arrive.
    public static let uploading = SessionStatus(rawValue: "uploading")
    /// The session waits for a recording or a worker.
    public static let pending = SessionStatus(rawValue: "pending")
    /// The recording is made ready.
    public static let preprocessing = SessionStatus(rawValue: "preprocessing")
    /// The words are recognized.
    public static let transcribing = SessionStatus(rawValue: "transcribing")
    /// The speakers are told apart.
    public static let diarizing = SessionStatus(rawValue: "diarizing")
    /// The transcript is stored.
    public static let transcribed = SessionStatus(rawValue: "transcribed")
    /// The notes are extracted.
    public static let extractingNotes = SessionStatus(rawValue: "extracting_notes")
    /// The session is finished.
    public static let processed = SessionStatus(rawValue: "processed")
    /// The session failed, and ``SessionProgress/error`` says why.
    public static let failed = SessionStatus(rawValue: "failed")

    /// True for `processed` and `failed`.
    public var isFinished: Bool { self == .processed || self == .failed }
}

/// The progress of a session.
public struct SessionProgress: Hashable, Sendable, Decodable {
    /// The session's id, a UUID in lower case.
    public let sessionID: String
    /// What happens to the session now.
    public let status: SessionStatus
    /// 0 to 100.
    public let progress: Int
    /// Words for people, or nil.
    public let message: String?
    /// Why the session failed; nil unless the status is `failed`.
    public let error: String?
    /// Seconds, or nil if they are not known.
    public let estimatedTimeRemaining: Int?
    /// How many segments the transcript has so far.
    public let segments: Int?
    /// Starts at 1 and grows by one with each change.
    public let version: Int
    /// Starts at 1 and grows with each retry or takeover.
    public let attempt: Int

    private enum CodingKeys: String, CodingKey {
        case sessionID = "session_id"
        case status, progress, message, error
        case estimatedTimeRemaining = "estimated_time_remaining"
        case segments, version, attempt
    }
}

/// A session.
public struct TherapySession: Hashable, Sendable, Decodable, Identifiable {
    /// The session's id, a UUID in lower case.
    public let id: String
    /// The patient's id.
    public let patientID: String
    /// The patient's name, or nil if it is not known.
    public let patientName: String?
    /// RFC 3339, or nil if it is not known.
    public let sessionDate: String?
    /// The name of the recording, or nil before there is one.
    public let filename: String?
    /// The progress at the time of the answer.
    public let progress: SessionProgress

    private enum CodingKeys: String, CodingKey {
        case id
        case patientID = "patient_id"
        case patientName = "patient_name"
        case sessionDate = "session_date"
        case filename, progress
    }
}

/// An account.
public struct Account: Hashable, Sendable, Decodable, Identifiable {
    /// The account's id.
    public let id: String
    /// The address that it signs in with.
    public let email: String?
    /// The name.
    public let fullName: String?
    /// `therapist`, `patient`, `admin` or `pipeline`.
    public let role: String

    private enum CodingKeys: String, CodingKey {
        case id, email
        case fullName = "full_name"
        case role
    }
}

/// An event of the stream of all sessions.
public enum SessionEvent: Hashable, Sendable {
    /// The progress of a session.
    ///
    /// `isNew` is true if the session was created, retried or assigned to the caller after the stream began.
    case progress(SessionProgress, isNew: Bool)
    /// A session was deleted, or its patient is no longer assigned to the caller.
    case removed(sessionID: String)
    /// The start of a connection is complete.
    ///
    /// Sessions that finished before the start did not come. Read the list again.
    case ready
}
