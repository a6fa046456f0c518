/// A record of the audit log: who did what, or was refused it, and when.
///
/// It names people and sessions by their ids, and holds nobody's words.
public struct AuditEntry: Sendable, Hashable, Encodable {
    /// Numbers the records in the order in which they were begun.
    public var id: Int64
    /// When it was begun.
    public var at: Timestamp
    /// The name of an ``AuditAction``, or of one of a newer release.
    public var action: String
    /// False for what was refused.
    public var isAllowed: Bool
    /// Who it was; nil when nobody was signed in, but the database role.
    public var user: UserID?
    /// The sign-in under which the user acted.
    public var signIn: SignInID?
    /// The session that it was about.
    public var session: SessionID?
    /// Whose data it was about.
    public var patient: UserID?
    /// The account that was changed, or the therapist of an assignment.
    public var subject: UserID?
    /// The `X-Request-Id` of the answer.
    public var requestID: String?
    /// The role that was signed in to PostgreSQL.
    public var databaseRole: String
    /// What changed, in words of the database; nil where the action says it all.
    public var detail: String?

    /// A record with all its members.
    public init(
        id: Int64, at: Timestamp, action: String, isAllowed: Bool, user: UserID?, signIn: SignInID?,
        session: SessionID?, patient: UserID?, subject: UserID?, requestID: String?, databaseRole: String,
        detail: String?
    ) {
        self.id = id
        self.at = at
        self.action = action
        self.isAllowed = isAllowed
        self.user = user
        self.signIn = signIn
        self.session = session
        self.patient = patient
        self.subject = subject
        self.requestID = requestID
        self.databaseRole = databaseRole
        self.detail = detail
    }

    private enum CodingKeys: String, CodingKey {
        case id, at, action, outcome, detail
        case user = "user_id"
        case signIn = "sign_in_id"
        case session = "session_id"
        case patient = "patient_id"
        case subject = "subject_id"
        case requestID = "request_id"
        case databaseRole = "database_role"
    }

    /// Encodes every member, also those that are null.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(id, forKey: .id)
        try container.encode(at, forKey: .at)
        try container.encode(action, forKey: .action)
        try container.encode(isAllowed ? "allowed" : "refused", forKey: .outcome)
        try container.encode(user, forKey: .user)
        try container.encode(signIn, forKey: .signIn)
        try container.encode(session, forKey: .session)
        try container.encode(patient, forKey: .patient)
        try container.encode(subject, forKey: .subject)
        try container.encode(requestID, forKey: .requestID)
        try container.encode(databaseRole, forKey: .databaseRole)
        try container.encode(detail, forKey: .detail)
    }
}
