/// An action on a session; the raw value is its name in the database.
public enum SessionAction: String, Sendable, CaseIterable {
    /// See the session, its progress and its transcript, and follow its stream.
    case see
    /// Download the recording.
    case hear
    /// Read the therapist's notes.
    case readNotes = "read_notes"
    /// Correct the final transcript and the notes.
    case correct
    /// Read the last words of a failed stage, which may be words of the session.
    case readFailure = "read_failure"
    /// Upload a recording for the patient.
    case upload
    /// Change the date or the language of the session, or retry, cancel or delete it.
    case manage
    /// Report progress.
    case report
    /// Claim the session, fetch its recording under the lease, and store its results.
    case process
    /// Export all that is held of the session's patient.
    case export
}

/// An action that concerns no session; the raw value is its name in the database.
public enum AdministrativeAction: String, Sendable, CaseIterable {
    /// See all accounts and all assignments.
    case seeAccounts = "see_accounts"
    /// Add and change accounts, and begin and end assignments.
    case manageAccounts = "manage_accounts"
    /// Read the audit log.
    case readAuditLog = "read_audit_log"
    /// Read the metrics.
    case readMetrics = "read_metrics"
    /// List, add, change and remove webhooks, and see and retry their deliveries.
    case manageWebhooks = "manage_webhooks"
    /// Erase the data of a patient.
    case erase
    /// Measure the server with a session of no patient.
    case probe
}

/// The relation of a user to a session at one moment, as the database has it.
public struct Relation: Sendable, Hashable {
    /// The user is the session's patient.
    public var isPatient: Bool
    /// An active assignment ties the user, as therapist, to the session's patient.
    ///
    /// A session may also name its therapist. That alone is no relation.
    public var isAssigned: Bool

    /// A relation with its two parts.
    public init(isPatient: Bool, isAssigned: Bool) {
        self.isPatient = isPatient
        self.isAssigned = isAssigned
    }
}

/// The access rule in Swift.
///
/// `app.permits` is the same rule in SQL. A test compares the two for every role, relation and action.
public enum Access {
    /// Whether a user with this role and relation may do an action on a session.
    ///
    /// The caller has checked before that the account is active and signed in.
    public static func permits(_ action: SessionAction, to role: Role, as relation: Relation) -> Bool {
        switch (action, role) {
        case (.see, .admin), (.hear, .admin), (.readNotes, .admin), (.upload, .admin), (.manage, .admin): true
        case (.correct, .admin), (.readFailure, .admin), (.export, .admin): true
        case (.readFailure, .therapist), (.readFailure, .patient): false
        case (.report, .admin), (.report, .pipeline), (.process, .pipeline): true
        case (.report, .therapist), (.report, .patient): false
        case (.process, .admin), (.process, .therapist), (.process, .patient): false
        case (.export, .therapist): false
        case (_, .therapist): relation.isAssigned
        case (.see, .patient), (.hear, .patient), (.upload, .patient), (.export, .patient): relation.isPatient
        case (.readNotes, .patient), (.correct, .patient), (.manage, .patient): false
        case (_, .pipeline): false
        }
    }

    /// Whether a user with this role may do an action on the sessions of all patients.
    public static func permitsOnAll(_ action: SessionAction, to role: Role) -> Bool {
        permits(action, to: role, as: Relation(isPatient: false, isAssigned: false))
    }

    /// Whether users with this role have patients, for whom they upload.
    public static func hasPatients(_ role: Role) -> Bool {
        permits(.upload, to: role, as: Relation(isPatient: false, isAssigned: true))
    }

    /// Whether users with this role may list therapists: their own, or all.
    public static func seesTherapists(_ role: Role) -> Bool { role == .patient || permits(.seeAccounts, to: role) }

    /// Whether a session names a user with this role, who uploads its recording, as its therapist.
    public static func isNamedAsTherapist(_ role: Role) -> Bool { role == .therapist }

    /// Whether a user with this role may do an administrative action.
    ///
    /// No relation matters.
    ///
    /// The caller has checked before that the account is active and signed in.
    public static func permits(_ action: AdministrativeAction, to role: Role) -> Bool {
        switch (action, role) {
        case (.seeAccounts, .admin), (.manageAccounts, .admin), (.readAuditLog, .admin), (.readMetrics, .admin): true
        case (.manageWebhooks, .admin), (.erase, .admin), (.probe, .admin): true
        case (_, .therapist), (_, .patient), (_, .pipeline): false
        }
    }
}
