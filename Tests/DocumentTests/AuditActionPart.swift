import Domain
import TestSupport

/// The actions of the audit log, grouped by what they concern.
enum AuditActionPart {
    private enum Subject: String, CaseIterable {
        case readingOne = "reading one session"
        case actingOnOne = "acting on one session"
        case readingMany = "reading many sessions"
        case administering = "reading as an administrator"
        case patientData = "exporting or erasing the data of a patient"
        case rights = "changing rights, by anyone"
        case webhooks = "changing webhooks, by anyone, and retrying deliveries"
        case byHand = "changes by hand in the database"
        case results = "storing again after another attempt, or for a finished session"
    }

    static func text() -> String {
        table(
            ["recorded", "actions"],
            Subject.allCases.map { subject in
                let actions = AuditAction.allCases.filter { subjects(of: $0).contains(subject) }
                return [subject.rawValue, actions.map { "`\($0.rawValue)`" }.joined(separator: ", ")]
            })
    }

    private static func subjects(of action: AuditAction) -> [Subject] {
        switch action {
        case .readSession, .readStatus, .readEvents, .readTranscript, .readNotes, .readHistory, .readFailure,
            .hearRecording:
            [.readingOne]
        case .openStream, .resumeStream, .takeTicket, .upload, .resumeUpload, .endUpload, .retry, .cancel,
            .changeSession,
            .report, .claim, .keepLease, .giveLeaseBack, .storeTranscript, .storeNotes:
            [.actingOnOne]
        case .delete: [.actingOnOne, .byHand]
        case .openCaseload, .resumeCaseload, .takeCaseloadTicket, .listSessions, .listPatients, .listTherapists:
            [.readingMany]
        case .listUsers, .readUser, .listSignIns, .listAssignments, .readAudit, .readMetrics,
            .listWebhooks, .listDeliveries, .beginProbe:
            [.administering]
        case .exportPatient, .erasePatient: [.patientData]
        case .retryDelivery, .addWebhook, .changeWebhook, .removeWebhook: [.webhooks]
        case .beginSignIn, .endSignIn, .repeatRefresh, .addUser, .changeUser, .removeUser, .beginAssignment,
            .endAssignment,
            .correctSession:
            [.rights]
        case .addSession, .removeAudit: [.byHand]
        case .correctTranscript, .correctNotes: [.actingOnOne, .results]
        }
    }
}
