/// What somebody may want to do with a session; the raw value is the name of the action in the database.
public enum SessionAction: String, Sendable, CaseIterable {
    /// See the session, its progress and its transcript, and follow its stream.
    case see
    /// Fetch the recording.
    case hear
    /// Read the therapist's notes.
    case readNotes = "read_notes"
    /// Bring a recording for the patient.
    case upload
    /// Retry or delete.
    case manage
    /// Report progress.
    case report
}

/// How a user stands to a session, as the database knows it at one moment.
public struct Relation: Sendable, Hashable {
    /// The user is the session's patient.
    public var isPatient: Bool
    /// An active assignment ties the user, as therapist, to the session's patient.
    ///
    /// That a session names the user as its therapist is not such a tie.
    public var isAssigned: Bool

    /// A relation by its two parts.
    public init(isPatient: Bool, isAssigned: Bool) {
        self.isPatient = isPatient
        self.isAssigned = isAssigned
    }
}

/// Who may do what: the one place where the rule is written in Swift.
///
/// The one place in SQL is `app.permits`. A test compares the two for every role, relation and action.
public enum Access {
    /// Whether a user of a role that stands so to a session may do `action` with it.
    ///
    /// The account is taken to be active and signed in: that is decided before.
    public static func permits(_ action: SessionAction, to role: Role, as relation: Relation) -> Bool {
        switch (action, role) {
        case (.see, .admin), (.hear, .admin), (.readNotes, .admin), (.upload, .admin), (.manage, .admin): true
        case (.report, .admin), (.report, .pipeline), (.hear, .pipeline): true
        case (.report, .therapist), (.report, .patient): false
        case (_, .therapist): relation.isAssigned
        case (.see, .patient), (.hear, .patient), (.upload, .patient): relation.isPatient
        case (.readNotes, .patient), (.manage, .patient): false
        case (_, .pipeline): false
        }
    }
}
