public import Domain
public import Postgres

/// The audit log: `app.audit_log`.
///
/// ``ProgressStore/admit(_:)`` records an access to an existing session when it authorizes it. Triggers
/// in the database record every change of rights.
public struct AuditStore: Sendable {
    let pool: PostgresPool
    private let merger: AccessMerger

    /// A store that borrows its connections from a pool.
    ///
    /// - Parameters:
    ///   - pool: The pool.
    ///   - merger: Decides which accesses are repeats. By default, each access is recorded at once.
    public init(pool: PostgresPool, merger: AccessMerger = .off) {
        self.pool = pool
        self.merger = merger
    }

    /// Records an action, or that it was refused; or counts it, if it repeats one that has a record.
    ///
    /// - Parameters:
    ///   - access: The action, with the caller and what it concerns.
    ///   - isAllowed: False for a refusal.
    ///   - requestID: The `X-Request-Id` of the answer.
    /// - Throws: ``PostgresError`` if the record was not written. The caller must then not act.
    public func record(_ access: AuditedAccess, isAllowed: Bool, requestID: RequestIdentifier) async throws {
        let plans = merger.plan([access])
        if plans.contains(where: { $0.records(isAllowed) }) {
            _ = try await pool.query(Self.insertion(of: access, isAllowed: isAllowed, requestID: requestID))
        }
        merger.settle(plans.lazy.map { ($0, isAllowed) })
    }

    /// The statement that records an access.
    static func insertion(of access: AuditedAccess, isAllowed: Bool, requestID: RequestIdentifier?) -> PostgresQuery {
        """
        SELECT app.record_access(
            \(access.principal.user), \(access.principal.signIn), \(access.action.rawValue), \(isAllowed),
            \(access.session), \(access.patient), \(requestID)::text, \(access.network))
        """
    }

    /// The largest number of records in one statement.
    private static let batch = 1000

    /// Records the counted repeats whose ten minutes end within a time from now.
    ///
    /// - Parameter time: The time until the next call.
    /// - Returns: The number of records.
    /// - Throws: ``PostgresError`` if the database does not answer. The next call then records the rest.
    @discardableResult
    public func recordRepeats(endingWithin time: Duration) async throws -> Int {
        var (rest, now) = merger.take(endingWithin: time)
        let total = rest.count
        while !rest.isEmpty {
            do {
                try await append(Array(rest.prefix(Self.batch)), now: now)
            } catch {
                merger.giveBack(rest)
                throw error
            }
            rest.removeFirst(min(Self.batch, rest.count))
        }
        return total
    }

    /// Ends the merging, and records the counted repeats.
    ///
    /// From now on, every access is recorded at once.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func endMerging() async throws {
        merger.close()
        try await recordRepeats(endingWithin: .zero)
    }

    /// Appends records of repeats.
    ///
    /// The database knows the time, and gets the ages. The clocks of two hosts may differ.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    private func append(_ repeats: [RepeatedAccess], now: ContinuousClock.Instant) async throws {
        let accesses = repeats.map(\.access)
        _ = try await pool.query(
            """
            SELECT app.record_repeats(
                \(accesses.map(\.principal.user)), \(accesses.map(\.principal.signIn)), \(accesses.map(\.action.rawValue)),
                \(repeats.map(\.isAllowed)), \(accesses.map(\.session)), \(accesses.map(\.patient)),
                \(accesses.map(\.network)), \(repeats.map(\.count)),
                \(repeats.map { $0.first.duration(to: now) }), \(repeats.map { $0.last.duration(to: now) }))
            """)
    }

    /// Adds the next partition that the log needs: for a month ahead, or for rows without a partition of their month.
    ///
    /// - Returns: False if the log needs none, or another server adds one.
    /// - Throws: ``PostgresError`` if the database does not answer; with SQLSTATE 55P03 if a lock is not free at once.
    public func addPartition() async throws -> Bool {
        let rows = try await pool.query("SELECT app.add_audit_partition() AS name")
        return try rows.first?.decode("name", as: String?.self) != nil
    }

    /// Selects records; nil does not restrict.
    public struct Filter: Sendable {
        /// Only records of this user.
        public var user: UserID?
        /// Only records about this session.
        public var session: SessionID?
        /// Only records about data of this patient.
        public var patient: UserID?
        /// Only records of this action.
        public var action: AuditAction?
        /// True selects allowed actions, false selects refusals.
        public var isAllowed: Bool?
        /// Only records at or after this time.
        public var from: Timestamp?
        /// Only records before this time.
        public var to: Timestamp?
        /// The page begins after this record; nil for the first page.
        public var after: Cursor?
        /// The greatest number of records.
        public var limit: Int

        /// A filter that restricts only the number of records.
        public init(limit: Int) { self.limit = limit }
    }

    /// A position in the list of records, by the time and number of a record.
    public typealias Cursor = ListCursor<Int64>

    /// The records that a user may read, newest first; empty without the right.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func list(_ filter: Filter, as principal: Principal) async throws -> [AuditEntry] {
        try await pool.acting(as: principal) { connection in
            try await connection.query(Self.query(filter)).map(AuditEntry.init)
        }
    }

    /// The records that the database role of the pool may read, newest first.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func list(_ filter: Filter) async throws -> [AuditEntry] {
        try await pool.query(Self.query(filter)).map(AuditEntry.init)
    }

    private static func query(_ filter: Filter) -> PostgresQuery {
        // A session has few records. OFFSET makes PostgreSQL find them first. Without statistics, it would walk through the
        // whole log in the order of the list. The session is the first parameter.
        let records =
            filter.session == nil
            ? "app.audit_log" : "(SELECT * FROM app.audit_log WHERE session_id = $1 OFFSET 0) AS records"
        return """
            SELECT \(unescaped: AuditEntry.columns) FROM \(unescaped: records)
            WHERE (\(filter.session)::uuid IS NULL OR session_id = \(filter.session))
              AND (\(filter.user)::uuid IS NULL OR user_id = \(filter.user))
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
    /// The columns that ``init(_:)`` reads.
    package static let columns = """
        id, at, action, is_allowed, user_id, auth_session_id, session_id, patient_id, subject_id, request_id,
        database_role, detail, abbrev(address) AS address, repeats, until
        """

    /// Reads a record.
    ///
    /// - Throws: ``PostgresError`` with code `decoding` if a column has another type.
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
            detail: try row.decode("detail", as: String?.self),
            address: try row.decode("address", as: String?.self),
            repeats: try row.decode("repeats", as: Int64?.self),
            until: try row.decode("until", as: Timestamp?.self))
    }
}
