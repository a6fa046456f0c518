public import Domain
import Postgres

// The administration of accounts.
extension UserStore {
    /// Selects the accounts of a list; nil does not restrict.
    public struct Filter: Sendable {
        /// Only accounts of this role.
        public var role: Role?
        /// True selects active accounts, false selects inactive ones.
        public var isActive: Bool?
        /// Only accounts with this text in the name or the address, regardless of case.
        public var text: String?
        /// The page begins after this account; nil for the first page.
        ///
        /// The list is ordered by address. The cursor is an id, because addresses must not appear in URLs and logs.
        public var after: UserID?
        /// The greatest number of accounts.
        public var limit: Int

        /// A filter that restricts only the number of accounts.
        public init(limit: Int) { self.limit = limit }
    }

    /// The accounts that a filter selects, ordered by address.
    ///
    /// - Returns: The accounts; nil if the account of ``Filter/after`` does not exist.
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` if one of the accounts has a role
    ///   that this release does not know.
    public func list(_ filter: Filter) async throws -> [UserRecord]? {
        try await perform { connection in
            var address: String?
            if let after = filter.after {
                let rows = try await connection.query(
                    "SELECT lower(email COLLATE \"C\") AS address FROM app.users WHERE id = \(after)")
                address = try rows.first?.decode("address", as: String.self)
                guard address != nil else { return nil }
            }
            return try await connection.query(
                """
                SELECT \(unescaped: Self.recordColumns)
                FROM app.users p CROSS JOIN (SELECT app.searchable(\(filter.text)) AS words OFFSET 0) AS q
                WHERE (\(filter.role?.rawValue)::text IS NULL OR role = \(filter.role?.rawValue))
                  AND (\(filter.isActive)::boolean IS NULL OR is_active = \(filter.isActive))
                  AND \(unescaped: Self.hasWords)
                  AND (\(address)::text IS NULL OR lower(email COLLATE "C") > \(address))
                ORDER BY lower(email COLLATE "C")
                LIMIT \(filter.limit)
                """
            ).map(UserRecord.init)
        }
    }

    /// One account; nil if the acting user may see no such account.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` for a role that this release does
    ///   not know.
    public func record(of id: UserID) async throws -> UserRecord? {
        try await perform { connection in
            try await connection.query("SELECT \(unescaped: Self.recordColumns) FROM app.users WHERE id = \(id)")
                .first.map(UserRecord.init)
        }
    }

    /// A change of an account; nil keeps the present value.
    public struct Change: Sendable {
        /// The new name.
        public var fullName: FullName?
        /// The new role.
        public var role: Role?
        /// False deactivates the account, true activates it.
        public var isActive: Bool?
        /// The scrypt hash of the new password.
        public var passwordHash: String?

        /// A change; nil keeps the present value.
        public init(
            fullName: FullName? = nil, role: Role? = nil, isActive: Bool? = nil, passwordHash: String? = nil
        ) {
            self.fullName = fullName
            self.role = role
            self.isActive = isActive
            self.passwordHash = passwordHash
        }

        /// Whether the account can no longer manage accounts afterwards.
        var endsAdministration: Bool {
            isActive == false || role.map { !Access.permits(.manageAccounts, to: $0) } ?? false
        }
    }

    /// The outcome of a change.
    public enum ChangeOutcome: Sendable {
        /// The account after the change.
        case changed(UserRecord)
        /// The account does not exist.
        case noUser
        /// The caller may no longer manage accounts.
        case notPermitted
        /// The change would take the right to manage accounts from the caller's own account.
        case ownAccount
    }

    /// Changes an account for an administrator.
    ///
    /// A change that takes rights away ends them, and their streams, with the commit. A trigger then ends the sign-ins of the
    /// account for good; so does a new password. A new role also ends the assignments of the old role. If the account gets the old role again, it
    /// begins without assignments.
    ///
    /// The transaction first locks all active administrators. If two of them deactivate each other, the second waits,
    /// and then is no administrator any more. No administrator can do this to their own account. One administrator
    /// therefore always remains.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` for a role that this release does
    ///   not know.
    public func change(_ id: UserID, _ change: Change, by administrator: UserID) async throws -> ChangeOutcome {
        do {
            return try await changeInOneTransaction(id, change, by: administrator)
        } catch is NothingChanged {
            return .noUser
        }
    }

    /// Takes back a transaction that has changed no account, because there is none, or because the sign-in has ended meanwhile.
    private struct NothingChanged: Error {}

    private func changeInOneTransaction(
        _ id: UserID, _ change: Change, by administrator: UserID
    ) async throws -> ChangeOutcome {
        let managers = Role.allCases.filter { Access.permits(.manageAccounts, to: $0) }.map(\.rawValue)
        return try await perform { connection in
            // The same statement locks the account itself, before its assignments.
            let administrators = try await connection.query(
                """
                SELECT id, role = ANY (\(managers)) AND is_active AS is_administrator FROM app.users
                WHERE role = ANY (\(managers)) AND is_active OR id = \(id) ORDER BY id FOR NO KEY UPDATE
                """
            ).filter { try $0.decode("is_administrator", as: Bool.self) }.map { try $0.decode("id", as: UserID.self) }
            guard administrators.contains(administrator) else { return .notPermitted }
            if id == administrator, change.endsAdministration { return .ownAccount }
            if let role = change.role {
                // Before the role changes: a trigger checks the roles of both accounts whenever an assignment is
                // written.
                _ = try await connection.execute(
                    """
                    UPDATE app.therapist_patients SET is_active = false, ended_at = clock_timestamp()
                    WHERE is_active AND (therapist_id = \(id) AND \(role.rawValue) <> 'therapist'
                                         OR patient_id = \(id) AND \(role.rawValue) <> 'patient')
                    """)
            }
            if let hash = change.passwordHash {
                _ = try await connection.query("SELECT app.reset_password(\(id), \(hash))")
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
            guard let row = changed.first else { throw NothingChanged() }
            return .changed(try UserRecord(row))
        }
    }

    /// The roles of the users that exist.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` if one of the users has a role
    ///   that this release does not know.
    public func roles(of users: [UserID]) async throws -> [UserID: Role] {
        try await perform { connection in
            let rows = try await connection.query("SELECT id, role FROM app.users WHERE id = ANY(\(users))")
            return Dictionary(
                try rows.map { (try $0.decode("id", as: UserID.self), try $0.role("role")) },
                uniquingKeysWith: { first, _ in first })
        }
    }

    static let recordColumns = "id, email, full_name, role, is_active, created_at"

    /// The condition that an account `p` has the words of the row `q` in its name or its address.
    ///
    /// Without words, every account has them.
    static let hasWords = """
        (q.words IS NULL OR strpos(app.searchable(p.full_name), q.words) > 0 OR strpos(app.searchable(p.email), q.words) > 0)
        """
}

extension UserRecord {
    /// Reads the columns `recordColumns`.
    ///
    /// - Throws: What `User.init` throws; ``PostgresError`` with code `decoding` if a column has another type.
    init(_ row: PostgresRow) throws {
        self.init(
            user: try User(row),
            isActive: try row.decode("is_active", as: Bool.self),
            createdAt: try row.decode("created_at", as: Timestamp.self))
    }
}
