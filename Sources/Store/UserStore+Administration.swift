public import Domain
import Postgres

/// What administrators do with accounts.
extension UserStore {
    /// Which accounts a list is to show.
    public struct Filter: Sendable {
        /// Only accounts of this role; nil for all.
        public var role: Role?
        /// True for active accounts alone, false for inactive ones alone; nil for all.
        public var isActive: Bool?
        /// A part of the name or the address, in any case.
        public var text: String?
        /// The account after which the page begins; nil for the first page.
        ///
        /// An account rather than its address, by which the list is ordered: addresses have no place in URLs and logs.
        public var after: UserID?
        /// At most this many accounts.
        public var limit: Int

        /// A filter that lets every account through, up to a number.
        public init(limit: Int) { self.limit = limit }
    }

    /// The accounts, by address.
    ///
    /// - Returns: Nil when there is no account that the page could begin after.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func list(_ filter: Filter) async throws -> [UserRecord]? {
        try await perform { connection in
            var address: String?
            if let after = filter.after {
                let rows = try await connection.query(
                    "SELECT lower(email) AS address FROM app.users WHERE id = \(after)")
                address = try rows.first?.decode("address", as: String.self)
                guard address != nil else { return nil }
            }
            return try await connection.query(
                """
                SELECT \(unescaped: Self.recordColumns) FROM app.users
                WHERE (\(filter.role?.rawValue)::text IS NULL OR role = \(filter.role?.rawValue))
                  AND (\(filter.isActive)::boolean IS NULL OR is_active = \(filter.isActive))
                  AND (\(filter.text)::text IS NULL
                       OR position(lower(\(filter.text)) IN lower(email)) > 0
                       OR position(lower(\(filter.text)) IN lower(full_name)) > 0)
                  AND (\(address)::text IS NULL OR lower(email) > \(address))
                ORDER BY lower(email)
                LIMIT \(filter.limit)
                """
            ).map(UserRecord.init)
        }
    }

    /// One account; nil when there is none of that id.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func record(of id: UserID) async throws -> UserRecord? {
        try await perform { connection in
            try await connection.query("SELECT \(unescaped: Self.recordColumns) FROM app.users WHERE id = \(id)")
                .first.map(UserRecord.init)
        }
    }

    /// What is to become of an account; nil leaves a value as it is.
    public struct Change: Sendable {
        /// The new name.
        public var fullName: FullName?
        /// The new role.
        public var role: Role?
        /// False deactivates the account, true activates it.
        public var isActive: Bool?

        /// A change; nil leaves a value as it is.
        public init(fullName: FullName? = nil, role: Role? = nil, isActive: Bool? = nil) {
            self.fullName = fullName
            self.role = role
            self.isActive = isActive
        }

        /// Whether an administrator would be none any more.
        var endsAdministration: Bool { isActive == false || role.map { $0 != .admin } ?? false }
    }

    /// What came of a change.
    public enum ChangeOutcome: Sendable {
        /// The account was changed to this.
        case changed(UserRecord)
        /// There is no such account.
        case noUser
        /// Who asks is no active administrator any more.
        case notPermitted
        /// It is the asker's own account, which would end to be an administrator's.
        case ownAccount
    }

    /// Changes an account for an administrator.
    ///
    /// Ends streams and rights with the commit, where they do not outlast the change. Of a role that changes, the ties to
    /// patients or therapists end with it: somebody who gets the role again begins with none.
    ///
    /// All active administrators are locked first, so that two who deactivate each other come one after the other, and the
    /// second is none any more. As nobody can do it to the own account, there is always one left.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func change(_ id: UserID, _ change: Change, by administrator: UserID) async throws -> ChangeOutcome {
        try await perform { connection in
            // The account itself is locked with them: before its ties, and before the epoch of rights.
            let administrators = try await connection.query(
                """
                SELECT id, role = 'admin' AND is_active AS is_administrator FROM app.users
                WHERE role = 'admin' AND is_active OR id = \(id) ORDER BY id FOR NO KEY UPDATE
                """
            ).filter { try $0.decode("is_administrator", as: Bool.self) }.map { try $0.decode("id", as: UserID.self) }
            guard administrators.contains(administrator) else { return .notPermitted }
            if id == administrator, change.endsAdministration { return .ownAccount }
            if let role = change.role {
                // Before the role: a tie is checked for the roles of its two ends whenever it is written.
                _ = try await connection.execute(
                    """
                    UPDATE app.therapist_patients SET is_active = false, ended_at = clock_timestamp()
                    WHERE is_active AND (therapist_id = \(id) AND \(role.rawValue) <> 'therapist'
                                         OR patient_id = \(id) AND \(role.rawValue) <> 'patient')
                    """)
            }
            let changed = try await connection.query(
                """
                UPDATE app.users
                SET full_name = coalesce(\(change.fullName?.description), full_name),
                    role = coalesce(\(change.role?.rawValue), role),
                    is_active = coalesce(\(change.isActive), is_active),
                    updated_at = clock_timestamp()
                WHERE id = \(id)
                RETURNING \(unescaped: Self.recordColumns)
                """)
            return try changed.first.map { .changed(try UserRecord($0)) } ?? .noUser
        }
    }

    /// The role of each of these users that there is.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func roles(of users: [UserID]) async throws -> [UserID: Role] {
        try await perform { connection in
            let rows = try await connection.query("SELECT id, role FROM app.users WHERE id = ANY(\(users))")
            return Dictionary(
                try rows.map { (try $0.decode("id", as: UserID.self), try $0.decode("role", as: Role.self)) },
                uniquingKeysWith: { first, _ in first })
        }
    }

    static let recordColumns = "id, email, full_name, role, is_active, created_at"
}

extension UserRecord {
    init(_ row: PostgresRow) throws {
        self.init(
            user: try User(row),
            isActive: try row.decode("is_active", as: Bool.self),
            createdAt: try row.decode("created_at", as: Timestamp.self))
    }
}
