/// A record of the audit log: who did what or was refused, and when.
///
/// A record names people and sessions by their ids. It holds no names, e-mail addresses or messages.
public struct AuditEntry: Sendable, Hashable, Encodable {
    /// The number of the record, in the order in which the records were begun.
    public var id: Int64
    /// When it was done; the first of ``repeats``.
    public var at: Timestamp
    /// The name of the action: an ``AuditAction``, or an action that only a newer release knows.
    public var action: String
    /// False for a refusal.
    public var isAllowed: Bool
    /// The user who acted; nil if no user was signed in.
    ///
    /// Without a user, ``databaseRole`` shows who acted.
    public var user: UserID?
    /// The sign-in of that user.
    public var signIn: SignInID?
    /// The session that the action concerned.
    public var session: SessionID?
    /// The patient whose data the action concerned.
    public var patient: UserID?
    /// The changed account, or the therapist of an assignment.
    public var subject: UserID?
    /// The `X-Request-Id` of the answer.
    public var requestID: String?
    /// The role that was connected to PostgreSQL.
    public var databaseRole: String
    /// What changed, in codes and ids; nil if the action says it all.
    public var detail: String?
    /// The IP address that it came from; of an IPv6 address the first 64 bits, as in `2001:db8::/64`.
    public var address: String?
    /// The number of accesses that the record stands for; nil for one access.
    ///
    /// They repeat an access that has a record of its own.
    public var repeats: Int64?
    /// When the last of ``repeats`` was made.
    public var until: Timestamp?

    /// A record with all its members.
    public init(
        id: Int64, at: Timestamp, action: String, isAllowed: Bool, user: UserID?, signIn: SignInID?,
        session: SessionID?, patient: UserID?, subject: UserID?, requestID: String?, databaseRole: String,
        detail: String?, address: String? = nil, repeats: Int64? = nil, until: Timestamp? = nil
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
        self.address = address
        self.repeats = repeats
        self.until = until
    }

    private enum CodingKeys: String, CodingKey {
        case id, at, until, action, outcome, repeats, detail, address
        case user = "user_id"
        case signIn = "sign_in_id"
        case session = "session_id"
        case patient = "patient_id"
        case subject = "subject_id"
        case requestID = "request_id"
        case databaseRole = "database_role"
    }

    /// Encodes every member; a missing value is null.
    ///
    /// - Throws: The error of the encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(id, forKey: .id)
        try container.encode(at, forKey: .at)
        try container.encode(until, forKey: .until)
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
        try container.encode(address, forKey: .address)
        try container.encode(repeats, forKey: .repeats)
    }
}
