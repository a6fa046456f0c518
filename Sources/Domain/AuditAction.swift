/// An action that the audit log records; the raw value is its name in the log.
public enum AuditAction: String, Sendable, CaseIterable, Codable {
    // A user reads a part of a session.
    case readSession = "session.read"
    case readStatus = "status.read"
    case readEvents = "events.read"
    case readTranscript = "transcript.read"
    case readNotes = "notes.read"
    case readHistory = "history.read"
    case readFailure = "failure.read"
    case hearRecording = "recording.read"

    // A user acts on a session.
    case openStream = "stream.open"
    case resumeStream = "stream.resume"
    case takeTicket = "ticket.take"
    case upload = "session.upload"
    case resumeUpload = "upload.resume"
    case endUpload = "upload.end"
    case retry = "session.retry"
    case cancel = "session.cancel"
    case changeSession = "session.change"
    case delete = "session.delete"
    case report = "progress.report"
    // Triggers also record these two if another program makes the change, or a new attempt replaces a result.
    case correctTranscript = "transcript.correct"
    case correctNotes = "notes.correct"

    // A pipeline works on a session.
    case claim = "session.claim"
    case keepLease = "lease.keep"
    case giveLeaseBack = "lease.give_back"
    case storeTranscript = "transcript.store"
    case storeNotes = "notes.store"

    // A user exports or erases all that is held of a patient.
    case exportPatient = "patient.export"
    case erasePatient = "patient.erase"

    // A user reads the whole caseload.
    case openCaseload = "caseload.open"
    case resumeCaseload = "caseload.resume"
    case takeCaseloadTicket = "caseload.ticket"
    case listSessions = "sessions.list"
    case listPatients = "patients.list"
    case listTherapists = "therapists.list"

    // An administrator reads.
    case listUsers = "users.list"
    case readUser = "user.read"
    case listSignIns = "sign_ins.list"
    case listAssignments = "assignments.list"
    case readAudit = "audit.read"
    case readMetrics = "metrics.read"
    case listWebhooks = "webhooks.list"
    case listDeliveries = "webhook_deliveries.list"

    // An administrator acts.
    case retryDelivery = "webhook_delivery.retry"
    case beginProbe = "probe.begin"

    // Changes of rights and records. Triggers of the database record them for every writer.
    case beginSignIn = "sign_in.begin"
    case endSignIn = "sign_in.end"
    case repeatRefresh = "sign_in.repeat"
    case addUser = "user.add"
    case changeUser = "user.change"
    case removeUser = "user.remove"
    case beginAssignment = "assignment.begin"
    case endAssignment = "assignment.end"
    case addWebhook = "webhook.add"
    case changeWebhook = "webhook.change"
    case removeWebhook = "webhook.remove"
    case addSession = "session.add"
    case correctSession = "session.correct"
    case removeAudit = "audit.remove"

    /// The right to the session that the action needs; nil for an action that concerns no existing session.
    public var need: SessionAction? {
        switch self {
        case .readSession, .readStatus, .readEvents, .readTranscript, .openStream, .resumeStream, .takeTicket: .see
        case .hearRecording: .hear
        case .readNotes, .readHistory: .readNotes
        case .correctTranscript, .correctNotes: .correct
        case .readFailure: .readFailure
        case .retry, .cancel, .changeSession, .delete: .manage
        case .keepLease, .giveLeaseBack, .storeTranscript, .storeNotes: .process
        default: nil
        }
    }

    /// True if the log merges repeats of the action into one record.
    ///
    /// Clients repeat reads and openings often. Each change has a record of its own. A refusal is merged, whatever the action.
    public var isMerged: Bool {
        switch self {
        case .readSession, .readStatus, .readEvents, .readTranscript, .readNotes, .readHistory, .readFailure,
            .hearRecording, .openStream, .resumeStream, .takeTicket, .openCaseload, .resumeCaseload,
            .takeCaseloadTicket, .listSessions,
            .listPatients, .listTherapists, .resumeUpload, .keepLease, .listUsers, .readUser, .listSignIns,
            .listAssignments, .readAudit, .readMetrics,
            .listWebhooks, .listDeliveries:
            true
        case .upload, .endUpload, .retry, .cancel, .changeSession, .delete, .report, .claim, .giveLeaseBack,
            .storeTranscript, .storeNotes, .beginSignIn, .endSignIn, .repeatRefresh, .addUser, .changeUser, .removeUser,
            .beginAssignment, .endAssignment, .addSession, .correctSession, .correctTranscript, .correctNotes,
            .removeAudit, .retryDelivery, .addWebhook, .changeWebhook, .removeWebhook, .exportPatient, .erasePatient,
            .beginProbe:
            false
        }
    }

    /// The administrative right that the action needs; nil for every other action.
    public var administrativeNeed: AdministrativeAction? {
        switch self {
        case .listUsers, .readUser, .listSignIns, .listAssignments: .seeAccounts
        case .addUser, .changeUser, .endSignIn, .beginAssignment, .endAssignment: .manageAccounts
        case .readAudit: .readAuditLog
        case .readMetrics: .readMetrics
        case .listWebhooks, .listDeliveries, .retryDelivery, .addWebhook, .changeWebhook, .removeWebhook:
            .manageWebhooks
        case .erasePatient: .erase
        case .beginProbe: .probe
        default: nil
        }
    }
}
