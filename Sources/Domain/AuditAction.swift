/// What somebody does that the audit log tells of; the raw value is the log's name for it.
public enum AuditAction: String, Sendable, CaseIterable, Codable {
    // What is read of a session.
    case readSession = "session.read"
    case readStatus = "status.read"
    case readEvents = "events.read"
    case readTranscript = "transcript.read"
    case readNotes = "notes.read"
    case hearRecording = "recording.read"

    // What is done with a session.
    case openStream = "stream.open"
    case resumeStream = "stream.resume"
    case takeTicket = "ticket.take"
    case upload = "session.upload"
    case retry = "session.retry"
    case delete = "session.delete"
    case report = "progress.report"

    // What is read of all that somebody may see.
    case openCaseload = "caseload.open"
    case resumeCaseload = "caseload.resume"
    case takeCaseloadTicket = "caseload.ticket"
    case listSessions = "sessions.list"
    case listPatients = "patients.list"

    // What administrators read.
    case listUsers = "users.list"
    case readUser = "user.read"
    case readAudit = "audit.read"
    case readMetrics = "metrics.read"

    // What changes rights, whoever does it. The database records these itself.
    case beginSignIn = "sign_in.begin"
    case endSignIn = "sign_in.end"
    case addUser = "user.add"
    case changeUser = "user.change"
    case removeUser = "user.remove"
    case beginAssignment = "assignment.begin"
    case endAssignment = "assignment.end"
    case addSession = "session.add"
    case correctSession = "session.correct"
    case correctTranscript = "transcript.correct"
    case correctNotes = "notes.correct"
    case removeAudit = "audit.remove"

    /// The right to a session that the action takes; nil where it is not an action on a session that there is.
    public var need: SessionAction? {
        switch self {
        case .readSession, .readStatus, .readEvents, .readTranscript, .openStream, .resumeStream, .takeTicket: .see
        case .hearRecording: .hear
        case .readNotes: .readNotes
        case .retry, .delete: .manage
        default: nil
        }
    }
}
