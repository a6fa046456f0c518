public import Domain
public import Postgres

/// Who did what, or was refused it: `app.audit_log`.
///
/// What is done with a session that there is, is recorded where it is let in: ``ProgressStore/admit(_:)``. Changes of rights
/// are recorded by the database itself.
public struct AuditStore: Sendable {
    private let pool: PostgresPool

    /// Asks the database through a pool of connections.
    public init(pool: PostgresPool) { self.pool = pool }

    /// Records what somebody does, or is refused.
    ///
    /// Reading, and being refused, is recorded once in ten minutes for each sign-in.
    ///
    /// - Parameters:
    ///   - action: What is done, or refused.
    ///   - isAllowed: False for a refusal.
    ///   - principal: The caller, and the caller's sign-in.
    ///   - session: The session that the action is about; nil when it is about none, or many.
    ///   - patient: The patient whose data the action is about; nil when it is about nobody's, or many people's.
    ///   - requestID: The `X-Request-Id` of the answer.
    /// - Throws: ``PostgresError`` when the action is not recorded, and therefore may not be done.
    public func record(
        _ action: AuditAction, isAllowed: Bool, by principal: Principal, session: SessionID? = nil,
        patient: UserID? = nil, requestID: String
    ) async throws {
        _ = try await pool.query(
            """
            SELECT app.record_access(
                \(principal.user), \(principal.signIn), \(action.rawValue), \(isAllowed), \(session), \(patient),
                \(requestID))
            """)
    }

    /// Which records are to be shown; nil leaves a member open.
    public struct Filter: Sendable {
        /// The user who acted.
        public var user: UserID?
        /// The session that the action was about.
        public var session: SessionID?
        /// The patient whose data the action was about.
        public var patient: UserID?
        /// The action.
        public var action: AuditAction?
        /// True for what was allowed, false for what was refused.
        public var isAllowed: Bool?
        /// Not before this time.
        public var from: Timestamp?
        /// Before this time.
        public var to: Timestamp?
        /// The record after which the page begins; nil for the first page.
        public var after: Cursor?
        /// At most this many records.
        public var limit: Int

        /// A filter that lets every record through, up to a number.
        public init(limit: Int) { self.limit = limit }
    }

    /// A place in the list of records, which is ordered by time and number.
    public struct Cursor: Sendable, Equatable, LosslessStringConvertible {
        /// The time of the record.
        public var at: Timestamp
        /// The number of the record, which tells records of one time apart.
        public var id: Int64

        /// The place of a record.
        public init(at: Timestamp, id: Int64) {
            self.at = at
            self.id = id
        }

        /// Reads a cursor as ``description`` writes it; nil for any other text.
        public init?(_ description: String) {
            let parts = description.split(separator: "_", omittingEmptySubsequences: false)
            guard parts.count == 2, let at = Timestamp(cursor: parts[0]), let id = Int64(parts[1]) else { return nil }
            self.init(at: at, id: id)
        }

        /// Microseconds since 1970 and the number, with an underscore between.
        public var description: String { "\(at.microsecondsSinceEpoch)_\(id)" }
    }

    /// The newest records, as an administrator sees them; nobody else sees any.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func list(_ filter: Filter, as principal: Principal) async throws -> [AuditEntry] {
        try await pool.acting(as: principal) { connection in
            try await connection.query(Self.query(filter)).map(AuditEntry.init)
        }
    }

    /// The newest records, as an operator sees them.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func list(_ filter: Filter) async throws -> [AuditEntry] {
        try await pool.query(Self.query(filter)).map(AuditEntry.init)
    }

    private static func query(_ filter: Filter) -> PostgresQuery {
        """
        SELECT \(unescaped: AuditEntry.columns) FROM app.audit_log
        WHERE (\(filter.user)::uuid IS NULL OR user_id = \(filter.user))
          AND (\(filter.session)::uuid IS NULL OR session_id = \(filter.session))
          AND (\(filter.patient)::uuid IS NULL OR patient_id = \(filter.patient))
          AND (\(filter.action?.rawValue)::text IS NULL OR action = \(filter.action?.rawValue))
          AND (\(filter.isAllowed)::boolean IS NULL OR is_allowed = \(filter.isAllowed))
          AND (\(filter.from)::timestamptz IS NULL OR at >= \(filter.from))
          AND (\(filter.to)::timestamptz IS NULL OR at < \(filter.to))
          AND (\(filter.after?.at)::timestamptz IS NULL OR (at, id) < (\(filter.after?.at), \(filter.after?.id)))
        ORDER BY at DESC, id DESC
        LIMIT \(filter.limit)
        """
    }
}

extension AuditEntry {
    /// What a row has to have that a record is made of.
    package static let columns = """
        id, at, action, is_allowed, user_id, auth_session_id, session_id, patient_id, subject_id, request_id,
        database_role, detail
        """

    ///
    /// - Throws: ``PostgresError`` with code `decoding` when a column is not of its type.
    package init(_ row: PostgresRow) throws {
        self.init(
            id: try row.decode("id", as: Int64.self),
            at: try row.decode("at", as: Timestamp.self),
            action: try row.decode("action", as: String.self),
            isAllowed: try row.decode("is_allowed", as: Bool.self),
            user: try row.decode("user_id", as: UserID?.self),
            signIn: try row.decode("auth_session_id", as: SignInID?.self),
            session: try row.decode("session_id", as: SessionID?.self),
            patient: try row.decode("patient_id", as: UserID?.self),
            subject: try row.decode("subject_id", as: UserID?.self),
            requestID: try row.decode("request_id", as: String?.self),
            databaseRole: try row.decode("database_role", as: String.self),
            detail: try row.decode("detail", as: String?.self))
    }
}
