import FoundationEssentials

/// A refusal that a function or trigger of the database schema raises.
///
/// The SQLSTATE of the error decides the status of the answer. The code, which PostgreSQL carries as the name of a
/// constraint, decides the words: clients never read the messages of the schema. Each code in `migrations/code` has an
/// entry here.
enum SchemaRefusal: String, Sendable, CaseIterable {
    case inactive
    case notPermitted = "not_permitted"
    case providerNotRegistered = "provider_not_registered"
    case signedOut = "signed_out"
    case signInOfAnotherUser = "sign_in_of_another_user"

    case attemptNotBegun = "attempt_not_begun"
    case attemptNotPresent = "attempt_not_present"
    case attemptOutOfRange = "attempt_out_of_range"
    case attemptSkipped = "attempt_skipped"
    case callerLocked = "caller_locked"
    case estimateNegative = "estimate_negative"
    case progressOutOfRange = "progress_out_of_range"
    case sessionLocked = "session_locked"
    case sessionOfProgressFixed = "session_of_progress_fixed"
    case takeoverOfFinished = "takeover_of_finished"
    case transitionNotAllowed = "transition_not_allowed"
    case unknownSession = "unknown_session"
    case unknownStatus = "unknown_status"
    case uploadUnfinished = "upload_unfinished"

    case correctionMalformed = "correction_malformed"
    case correctionsMalformed = "corrections_malformed"
    case historyFull = "history_full"

    case leaseNotStanding = "lease_not_standing"
    case leaseOutOfRange = "lease_out_of_range"
    case leaseRequired = "lease_required"
    case noRecording = "no_recording"
    case notesMalformed = "notes_malformed"
    case sessionFinished = "session_finished"
    case segmentEndsEarly = "segment_ends_early"
    case segmentMalformed = "segment_malformed"
    case segmentOutOfOrder = "segment_out_of_order"
    case segmentPastEnd = "segment_past_end"
    case segmentsSkipped = "segments_skipped"
    case sessionNotFailed = "session_not_failed"
    case transcriptFinal = "transcript_final"
    case sessionNotFinished = "session_not_finished"
    case transcriptMalformed = "transcript_malformed"
    case workerEmpty = "worker_empty"

    case inRecovery = "in_recovery"

    case auditLogImmutable = "audit_log_immutable"
    case auditMonthPresent = "audit_month_present"
    case auditMonthUnknown = "audit_month_unknown"
    case deletedIDsImmutable = "deleted_ids_immutable"
    case notAPatient = "not_a_patient"
    case notATherapist = "not_a_therapist"
    case sessionIDDeleted = "session_id_deleted"
    case uploadFixed = "upload_fixed"
    case uploadKeyTaken = "upload_key_taken"

    /// The field at fault, by its name in SQL and in JSON; nil when no single field is.
    var field: String? {
        switch self {
        case .attemptOutOfRange: "attempt"
        case .auditMonthPresent, .auditMonthUnknown: "month"
        case .correctionsMalformed: "segments"
        case .estimateNegative: "estimated_time_remaining"
        case .leaseOutOfRange: "duration"
        case .notAPatient: "patient_id"
        case .notATherapist: "therapist_id"
        case .notesMalformed: "notes"
        case .progressOutOfRange: "progress"
        case .segmentsSkipped: "first"
        case .transcriptMalformed: "transcript"
        case .unknownStatus: "status"
        case .uploadKeyTaken: "upload_key"
        case .workerEmpty: "worker"
        default: nil
        }
    }

    /// The words for a client, without the name of the field; a name in braces stands for a value.
    var template: String {
        switch self {
        case .inactive: Problem.inactive.detail
        case .notPermitted: Problem.forbidden.detail
        case .providerNotRegistered: "The identity provider is not registered here."
        case .signedOut, .signInOfAnotherUser: Problem.unauthorized.detail
        case .attemptNotBegun: "Attempt {attempt} has not begun."
        case .attemptNotPresent: "The present attempt is {present}."
        case .attemptOutOfRange: "has to be at least 1."
        case .attemptSkipped: "The attempt after {present} is {next}."
        case .callerLocked: "The database is changing this account. Try again in a moment."
        case .estimateNegative: "cannot be negative."
        case .progressOutOfRange: "has to be between 0 and 100."
        case .sessionLocked: "The database is changing this session. Try again in a moment."
        case .sessionOfProgressFixed: "Progress cannot move to another session."
        case .takeoverOfFinished: "A session that is {status} cannot be taken over."
        case .transitionNotAllowed: "A session that is {from} cannot become {to}."
        case .unknownSession: Problem.noSession.detail
        case .unknownStatus: "is not a known status."
        case .uploadUnfinished: "The upload of the recording is not finished."
        case .correctionMalformed:
            "What stands in segments[{index}] corrects no segment: it needs the index of one, once, and a text or a speaker."
        case .correctionsMalformed: "have to be an array."
        case .historyFull:
            "The session has too many earlier transcripts and notes. It takes no more corrections."
        case .leaseNotStanding:
            "The lease does not stand: it has run out or ended, or belongs to another claim of the session."
        case .leaseOutOfRange: "has to be between 1 second and 1 day."
        case .leaseRequired:
            "This needs the lease of the session: only the worker that has claimed the session may do it."
        case .noRecording: "The session has no recording to retry with."
        case .notesMalformed: "have to be a JSON object."
        case .sessionFinished: "The session is {status}: nothing is left to cancel."
        case .segmentEndsEarly: "The end of segments[{index}] comes before its start."
        case .segmentMalformed:
            "What stands in segments[{index}] is no segment: it needs a start and an end in seconds, from 0, and a text."
        case .segmentOutOfOrder: "The start of segments[{index}] comes before that of the segment before it."
        case .segmentPastEnd: "The end of segments[{index}] lies more than 30 seconds after that of the recording."
        case .segmentsSkipped: "the transcript has {known} segments."
        case .transcriptFinal: "The transcript of this attempt is final."
        case .sessionNotFailed: "Only a failed session can be retried."
        case .sessionNotFinished: "Only a failed or processed session can be processed again."
        case .transcriptMalformed: "needs a text and an array of segments."
        case .workerEmpty: "cannot be empty."
        case .auditLogImmutable: "The audit log cannot be changed."
        case .auditMonthPresent: "has not ended a day ago."
        case .auditMonthUnknown: "has no partition."
        case .deletedIDsImmutable: "The ids of deleted sessions stay for ever."
        case .notAPatient: "is not a patient."
        case .notATherapist: "is not a therapist."
        case .sessionIDDeleted: "This id belonged to a session that was deleted. Choose another one."
        case .uploadFixed: "An upload neither begins again nor loses bytes."
        case .uploadKeyTaken: "is the key of a recording."
        case .inRecovery: "The database takes no writes at present. Try again in a few seconds."
        }
    }

    /// The words for a client.
    ///
    /// - Parameter values: A JSON object with a string for each name in the template, as the error's DETAIL carries it.
    /// - Returns: The `detail` of a problem; nil when a value is missing.
    func detail(values: String?) -> String? {
        let values = values.flatMap { try? JSONDecoder().decode([String: String].self, from: Data($0.utf8)) }
        var words = template
        for (name, value) in values ?? [:] { words = words.replacing("{\(name)}", with: value) }
        guard !words.contains("{") else { return nil }
        return field.map { "\($0): \(words)" } ?? words
    }
}
